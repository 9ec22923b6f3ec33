-- The five packages nearest to :question among those that satisfy :condition,
-- which :title says in words.
\echo
\echo :title :question
SELECT name, left(split_part(description, E'\n', 1), 70) AS description,
       round((description <=> :'question')::numeric, 3) AS distance
FROM packages
WHERE :condition
ORDER BY description <=> :'question' LIMIT 5;
