-- Which system calls of which programs fail, and how (the errno is the negative result)
-- tracers.lookback
SELECT comm, number, -result AS errno, count(*) AS calls
FROM syscall WHERE result BETWEEN -4095 AND -1
GROUP BY ALL ORDER BY calls DESC, comm, number, errno LIMIT 5;
