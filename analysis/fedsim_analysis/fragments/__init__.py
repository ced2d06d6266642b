"""What words do to a real model's answers: which fragments are asked, and which forms fit the answers."""
