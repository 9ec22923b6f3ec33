-- The five functions nearest to :question.
\echo
\echo 'functions:' :question
SELECT name, left(description, 70) AS description, round((description <=> :'question')::numeric, 3) AS distance
FROM functions
ORDER BY description <=> :'question' LIMIT 5;
