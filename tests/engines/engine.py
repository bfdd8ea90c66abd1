"""SQL as users of the engines run it: open(ENGINE, SCRIPT) runs the statements of a script, and gives a function
that runs a query and gives its rows as dictionaries."""


def open_engine(name, script):
    return {"duckdb": duckdb_engine, "datafusion": datafusion_engine, "spark": spark_engine}[name](script)


def statements(script):
    return [statement for statement in script.split(";\n") if statement.strip()]


def duckdb_engine(script):
    import duckdb

    connection = duckdb.connect()
    connection.execute(script)

    def query(sql):
        found = connection.execute(sql)
        names = [column[0] for column in found.description]
        return [dict(zip(names, row)) for row in found.fetchall()]

    return query


def datafusion_engine(script):
    import datafusion

    context = datafusion.SessionContext()
    for statement in statements(script):
        context.sql(statement).collect()
    return lambda sql: [row for batch in context.sql(sql).collect() for row in batch.to_pylist()]


def spark_engine(script):
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    # The tables are small: many partitions and compiled code only take time.
    builder = builder.config("spark.sql.shuffle.partitions", "1")
    builder = builder.config("spark.sql.codegen.wholeStage", "false")
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    for statement in statements(script):
        session.sql(statement)
    return lambda sql: [row.asDict() for row in session.sql(sql).collect()]
