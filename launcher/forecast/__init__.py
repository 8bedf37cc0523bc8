"""What a run will take, in time and money: pure reckoning over ranges, and what earlier runs taught."""
