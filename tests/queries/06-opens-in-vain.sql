-- Files that were looked for in vain
-- tracers.lookback
SELECT comm, errno, coalesce(dir || '/', '') || path AS file, count(*) AS times
FROM opens_failed WHERE length(path) < 80 GROUP BY ALL ORDER BY times DESC, file LIMIT 5;
