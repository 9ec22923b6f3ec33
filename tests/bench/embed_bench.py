#!/usr/bin/env python3
"""What semantic_embed costs over the encoder alone: `embed_bench.py PROGRAM MODEL.bin MODEL_NAME TOKENS`.

PROGRAM is encoder_bench.cpp's and MODEL.bin the file of the model that the database has
as MODEL_NAME. A session of the database (as psql's environment says) and the program
embed texts of so many tokens in turns; each call is timed where it is made."""

import statistics
import subprocess
import sys

ROUNDS = 101
FUNCTION = """CREATE OR REPLACE FUNCTION pg_temp.embed_milliseconds(content text, model text) RETURNS double precision LANGUAGE plpgsql AS $$
DECLARE
  started timestamptz;
BEGIN
  PERFORM semantic_embed(content, model);
  started := clock_timestamp();
  PERFORM semantic_embed(content, model);
  RETURN 1000 * extract(epoch FROM clock_timestamp() - started);
END $$;
SET semantic.threads = 1;
"""


def start(command):
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ask(process, line):
    process.stdin.write(line + "\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def main(program, file, name, tokens):
    session = start(["psql", "-XqAt", "-v", "ON_ERROR_STOP=1"])
    session.stdin.write(FUNCTION)
    encoder = start([program, "serve", file, "1"])
    content = " ".join(f"w{5 + 7919 * i % 30000}" for i in range(int(tokens) - 2))
    times = {"sql": [], "encoder": []}
    for _ in range(ROUNDS):
        times["sql"].append(ask(session, f"SELECT pg_temp.embed_milliseconds('{content}', '{name}');"))
        times["encoder"].append(ask(encoder, f"1 {tokens}"))
    sql, alone = (statistics.median(times[who]) for who in ("sql", "encoder"))
    print(f"semantic_embed, {name}, {tokens} tokens: {sql:.3f} ms, the encoder alone {alone:.3f} ms, "
          f"{1e3 * (sql - alone):+.0f} µs, {100 * (sql / alone - 1):+.1f} %")
    for process in (session, encoder):
        process.stdin.close()
        process.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
