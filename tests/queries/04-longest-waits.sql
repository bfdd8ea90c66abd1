-- The longest waits for a CPU, and who had it
-- tracers.lookback
SELECT comm, tid, round(wait / 1e3, 1) AS wait_us, prev_comm, prev_tid, cpu
FROM runq ORDER BY wait DESC LIMIT 5;
