-- Who killed whom
-- demo.lookback
SELECT x.comm AS killed, x.pid, x.signal, s.comm AS by, s.pid AS by_pid
FROM exit AS x JOIN signal AS s
  ON s.target_pid = x.pid AND s.sig = x.signal AND s.ts BETWEEN x.start AND x.ts
ORDER BY x.ts;
