-- Which programs took the most CPU time
-- demo.lookback
SELECT comm, count(*) AS processes, round(sum("user" + "system") / 1e6, 1) AS cpu_ms
FROM processes WHERE "end" IS NOT NULL
GROUP BY comm ORDER BY cpu_ms DESC LIMIT 5;
