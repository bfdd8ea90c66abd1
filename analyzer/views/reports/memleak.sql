SELECT o."host", o."recording", o."kind", o."bytes", o."count", o."stack", s."name"
FROM (SELECT "host", "recording", "kind", "stack",
             CAST(sum(coalesce("stands_for", "bytes")) AS BIGINT) AS "bytes",
             -- An allocation that stands for others counts as often as it does so, in 1024ths, rounded.
             @div(CAST(sum(CASE WHEN "stands_for" IS NULL THEN 1024
                                ELSE @div("stands_for" * 1024, greatest("bytes", 1)) END) AS BIGINT) + 512, 1024)
                 AS "count"
      FROM "outstanding"
      GROUP BY "host", "recording", "kind", "stack") AS o
LEFT JOIN "stack_names" AS s
  ON s."host" = o."host" AND s."recording" = o."recording" AND s."stack" = o."stack"
