-- What threads waited for off the CPUs, and who ended it
-- offcpu.lookback
SELECT comm, coalesce(waker_comm, '(an interrupt, or not seen)') AS waker, count(*) AS waits,
       round(sum(duration) / 1e6, 1) AS ms
FROM offcpu WHERE state = 1 AND duration IS NOT NULL
GROUP BY ALL ORDER BY ms DESC LIMIT 5;
