WITH changes AS (
    SELECT *, row_number() OVER socket AS "place",
           CASE WHEN "old" IN (7, 10) OR "new" = 10 OR lag("new") OVER socket IN (7, 10)
                THEN 1 ELSE 0 END AS "begins"
    FROM "tcpstate"
    WINDOW socket AS (PARTITION BY "host", "recording", "socket" ORDER BY "ts")
), numbered AS (
    SELECT *, sum("begins") OVER (PARTITION BY "host", "recording", "socket" ORDER BY "place") AS "life"
    FROM changes
), known AS (
    SELECT *,
           min("place") OVER life AS "first_place",
           min(CASE WHEN "pid" IS NOT NULL THEN "place" END) OVER life AS "owner_place",
           coalesce(max(CASE WHEN "laddr" NOT IN ('0.0.0.0', '::') THEN "place" END) OVER life,
                    min(CASE WHEN "laddr" IS NOT NULL THEN "place" END) OVER life) AS "laddr_place",
           coalesce(max(CASE WHEN "raddr" NOT IN ('0.0.0.0', '::') THEN "place" END) OVER life,
                    min(CASE WHEN "raddr" IS NOT NULL THEN "place" END) OVER life) AS "raddr_place",
           max(CASE WHEN "lport" <> 0 THEN "place" END) OVER life AS "lport_place",
           max(CASE WHEN "rport" <> 0 THEN "place" END) OVER life AS "rport_place"
    FROM numbered
    WINDOW life AS (PARTITION BY "host", "recording", "socket", "life")
)
SELECT "host", "recording",
       min("ts") AS "start",
       max("ts") AS "end",
       max("ts") - min("ts") AS "duration",
       max(CASE WHEN "place" = "owner_place" THEN "pid" END) AS "pid",
       max(CASE WHEN "place" = "owner_place" THEN "comm" END) AS "comm",
       max(CASE WHEN "place" = "laddr_place" THEN "laddr" END) AS "laddr",
       coalesce(max(CASE WHEN "place" = "lport_place" THEN "lport" END), 0) AS "lport",
       max(CASE WHEN "place" = "raddr_place" THEN "raddr" END) AS "raddr",
       coalesce(max(CASE WHEN "place" = "rport_place" THEN "rport" END), 0) AS "rport",
       greatest(max("sent"), 0) AS "sent",
       greatest(max("received"), 0) AS "received",
       greatest(max("retransmits"), 0) AS "retransmits",
       max(CASE WHEN "place" = "first_place" AND "old" IN (7, 10) THEN 1 ELSE 0 END) = 1 AS "whole",
       "socket"
FROM known
GROUP BY "host", "recording", "socket", "life"
HAVING sum(CASE WHEN "new" = 7 THEN 1 ELSE 0 END) > 0
   AND sum(CASE WHEN "new" = 10 OR ("old" IN (7, 10) AND "new" = 7) THEN 1 ELSE 0 END) = 0
