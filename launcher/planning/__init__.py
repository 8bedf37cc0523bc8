"""From a job to a plan: what is free to check, who offers what, which offer is taken, and what that costs."""
