WITH places AS (
    SELECT DISTINCT * FROM (@stack_frames()) AS unnested
), hooks AS (
    -- A stack that a tracepoint's program takes begins with the program and what called it.
    SELECT DISTINCT s."host", s."recording", s."frame"
    FROM "symbol" AS s JOIN "frame" AS f
      ON f."host" = s."host" AND f."recording" = s."recording" AND f."id" = s."frame"
    WHERE f."kernel" AND s."depth" = 0
      AND (substr(s."name", 1, 13) = 'bpf_trace_run' OR substr(s."name", 1, 12) = '__bpf_trace_'
           OR substr(s."name", 1, 12) = '__traceiter_')
), probes AS (
    SELECT p."host", p."recording", p."stack", max(p."place") AS "last"
    FROM places AS p JOIN hooks AS h
      ON h."host" = p."host" AND h."recording" = p."recording" AND h."frame" = p."frame"
    WHERE p."place" < 5
    GROUP BY p."host", p."recording", p."stack"
), calls AS (
    SELECT s."host", s."recording", s."frame", s."depth",
           replace(s."name" || CASE WHEN s."module" IS NULL THEN '' ELSE ' [' || s."module" || ']' END,
                   ';', ':')
           || CASE WHEN f."kernel" THEN '_[k]'
                   WHEN s."depth" > 0 THEN '_[i]'
                   WHEN f."file_offset" IS NULL AND coalesce(f."module", '') <> '[vdso]' THEN '_[j]'
                   ELSE '' END AS "name"
    FROM "symbol" AS s JOIN "frame" AS f
      ON f."host" = s."host" AND f."recording" = s."recording" AND f."id" = s."frame"
), named AS (
    SELECT "host", "recording", "frame", @joined("name", ';', "depth") AS "name"
    FROM calls GROUP BY "host", "recording", "frame"
), called AS (
    SELECT f."host", f."recording", f."id" AS "frame",
           coalesce(n."name",
                    CASE WHEN f."module" IS NULL OR f."file_offset" IS NULL THEN '[unknown]'
                         ELSE '[' || regexp_replace(f."module", '^.*/', '') || '+0x' || @hex(f."file_offset")
                              || ']' END
                    || CASE WHEN f."kernel" THEN '_[k]' ELSE '' END) AS "name"
    FROM "frame" AS f LEFT JOIN named AS n
      ON n."host" = f."host" AND n."recording" = f."recording" AND n."frame" = f."id"
)
SELECT p."host", p."recording", p."stack",
       CASE WHEN max(CASE WHEN p."truncated" THEN 1 ELSE 0 END) = 1 THEN '[truncated];' ELSE '' END
       || @joined(coalesce(c."name", '[lost frame]'), ';', -p."place") AS "name"
FROM places AS p LEFT JOIN called AS c
  ON c."host" = p."host" AND c."recording" = p."recording" AND c."frame" = p."frame"
LEFT JOIN probes AS b
  ON b."host" = p."host" AND b."recording" = p."recording" AND b."stack" = p."stack"
WHERE b."last" IS NULL OR p."place" > b."last"
GROUP BY p."host", p."recording", p."stack"
