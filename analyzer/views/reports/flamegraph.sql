WITH sums AS (
    SELECT "host", "recording", coalesce("comm", '[unknown]') AS "comm", "user_stack", "kernel_stack",
           sum("period") AS "weight", count(*) AS "samples"
    FROM "sample"
    GROUP BY "host", "recording", "comm", "user_stack", "kernel_stack"
), folded AS (
    SELECT s."host", s."recording", s."weight", s."samples",
           replace(s."comm", ';', ':')
           || CASE WHEN s."user_stack" IS NULL THEN ''
                   ELSE ';' || coalesce(u."name", '[lost stack]') END
           || CASE WHEN s."kernel_stack" IS NULL THEN ''
                   ELSE ';' || coalesce(k."name", '[lost stack]_[k]') END AS "stack"
    FROM sums AS s
    LEFT JOIN "stack_names" AS u
      ON u."host" = s."host" AND u."recording" = s."recording" AND u."stack" = s."user_stack"
    LEFT JOIN "stack_names" AS k
      ON k."host" = s."host" AND k."recording" = s."recording" AND k."stack" = s."kernel_stack"
)
SELECT "host", "recording", "stack", CAST(sum("weight") AS BIGINT) AS "weight",
       CAST(sum("samples") AS BIGINT) AS "samples"
FROM folded
GROUP BY "host", "recording", "stack"
