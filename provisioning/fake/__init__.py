"""A cloud in memory that survives processes: prices, capacity, interruptions and faults on demand, for nothing.

Its state is ``<home>/fake/cloud.json``; its machines are folders ``<home>/fake/machines/<id>`` whose
processes run on this computer. `provisioning.fake.options.Options` says what can be scripted.
"""
