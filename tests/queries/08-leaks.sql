-- What was allocated and never freed, by stack
-- heap.lookback
SELECT bytes, "count", regexp_extract(name, '[^;]*;[^;]*$') AS innermost
FROM memleak WHERE kind = 'heap' ORDER BY bytes DESC, innermost LIMIT 5;
