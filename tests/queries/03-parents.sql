-- Short-lived processes, and who started them: a parent is looked up by pid and time
-- demo.lookback
SELECT p.comm AS parent, c.comm AS child, count(*) AS times, round(avg(c.duration) / 1e6, 1) AS mean_ms
FROM processes AS c JOIN processes AS p
  ON p.recording = c.recording AND p.pid = c.ppid
 AND c.start BETWEEN p.start AND coalesce(p."end", c.start)
WHERE c.duration < 1e9
GROUP BY ALL ORDER BY times DESC, parent, child LIMIT 5;
