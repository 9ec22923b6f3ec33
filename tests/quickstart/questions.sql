-- Five questions in plain words.  The time under each is the whole statement:
-- embedding the question, searching the index, fetching the rows.
\pset footer off
\timing on

\set question 'find the largest of several values'
\ir ask_functions.sql
\set question 'remove spaces at the beginning and end of a string'
\ir ask_functions.sql

\set condition true
\set title 'packages:'
\set question 'edit photographs'
\ir ask_packages.sql
\set question 'recover deleted pictures'
\ir ask_packages.sql

-- A filter: as many rows as asked for, all from one section.
\set condition 'section = \'games\''
\set title 'packages, section games:'
\set question 'shoot enemies in space'
\ir ask_packages.sql
