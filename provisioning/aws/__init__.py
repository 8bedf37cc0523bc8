"""Amazon EC2, through boto3 (the extra ``aws``), which is imported when the first call is made."""
