-- The functions in which the CPUs were found most often
-- demo.lookback
SELECT regexp_extract(stack, '[^;]*$') AS function, sum(samples) AS samples, round(sum(weight) / 1e6) AS ms
FROM flamegraph GROUP BY ALL ORDER BY samples DESC, function LIMIT 5;
