"""Ways to run a job somewhere: on machines that we log in to, and on systems that take jobs from a queue."""
