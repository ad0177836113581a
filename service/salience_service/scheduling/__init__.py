"""The queue of device calls: tickets that wait, and the scheduler that shares the devices."""
