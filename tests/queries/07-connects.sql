-- How long TCP connects took, by destination
-- tracers.lookback
SELECT raddr, rport, count(*) AS connects, count(*) FILTER (result <> 0) AS failed,
       round(max(latency) / 1e6, 3) AS slowest_ms
FROM tcpconnect GROUP BY ALL ORDER BY slowest_ms DESC NULLS LAST, rport LIMIT 5;
