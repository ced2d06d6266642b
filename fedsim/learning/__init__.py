"""The workbench that federated methods share: batched, pure update rules on torch tensors, and no clock.

`BatchingLearner` keeps jobs until their results are needed, `WorkerTables` hold what workers have, the `Door`
lets messages in, forged ones among them, and `Merge` combines them by an aggregator, after pre-aggregators
and filters. What belongs to one paper alone stands in that paper's folder of `algorithms`.
"""
