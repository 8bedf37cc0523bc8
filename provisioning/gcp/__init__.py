"""Google Compute Engine, through google-cloud-compute (the extra ``gcp``), which is imported when the first call is made."""
