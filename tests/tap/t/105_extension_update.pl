# Versions of the extension, in an installation of their own beside the real one.
# A made-up next version is updated to: what an update leaves is, object by object,
# what a new CREATE EXTENSION makes.  The same for every update path that the sources have.
use strict;
use warnings;
use File::Basename qw(basename dirname);
use File::Path qw(make_path);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use PgSemantic::TestServer;

# A PostgreSQL finds its directories from where its programs are: these are copies,
# the rest is linked, but for the extension's scripts.
sub relocated_installation {
    my $root = PostgreSQL::Test::Utils::tempdir_short();
    chomp(my ($programs, $share, $libraries) = map { scalar `pg_config $_` } qw(--bindir --sharedir --pkglibdir));
    make_path("$root$_") foreach $share, map { dirname($_) } $programs, $libraries;
    system_or_bail('cp', '-a', $programs, "$root$programs");
    symlink $libraries, "$root$libraries" or die $!;
    foreach my $entry (glob "$share/*") {
        if (basename($entry) eq 'extension') { system_or_bail('cp', '-a', $entry, "$root$share/") }
        else { symlink $entry, "$root$entry" or die $! }
    }
    return (dirname("$root$programs"), "$root$share/extension");
}

my ($installation, $scripts) = relocated_installation();
my $current = slurp_file("$scripts/pg_semantic.control") =~ /default_version = '([^']+)'/ ? $1 : die 'no default_version';
my $next = "$current.1";
unlink "$scripts/pg_semantic.control";
append_to_file("$scripts/pg_semantic.control", "default_version = '$next'\nmodule_pathname = '\$libdir/pg_semantic'\nrelocatable = true\n");
my $new_function = q{CREATE FUNCTION semantic_next() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'next' $$;};
append_to_file("$scripts/pg_semantic--$current--$next.sql", qq{
CREATE OR REPLACE FUNCTION semantic_count_tokens(content text, model text DEFAULT NULL) RETURNS integer
    AS 'MODULE_PATHNAME', 'pg_semantic_count_tokens' LANGUAGE C STABLE PARALLEL SAFE COST 1234;
CREATE OR REPLACE VIEW semantic_models AS
    SELECT name, architecture, task, dimensions, max_tokens, vocabulary_size, layers, parameters, pooling,
           normalized, model_precision, bytes, labels, fingerprint, file_version
    FROM semantic_model_catalog;
$new_function
});
my $whole = slurp_file("$scripts/pg_semantic--$current.sql") . $new_function;
$whole =~ s/('pg_semantic_count_tokens' .* COST )\d+/${1}1234/ or die;
$whole =~ s/(labels, fingerprint)(\s+FROM semantic_model_catalog;)/$1, file_version$2/ or die;
append_to_file("$scripts/pg_semantic--$next.sql", $whole);

my $node = PostgreSQL::Test::Cluster->new('versions', install_path => $installation);
$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_semantic'\nlog_statement = none");
$node->start;
wait_for_worker($node);
is($node->config_data('--sharedir') . '/extension', $scripts, 'the server reads the scripts made here');

sub value {
    my ($database, $statement) = @_;
    return $node->safe_psql($database, $statement);
}

sub new_database {
    my ($name, $version) = @_;
    value('postgres', "CREATE DATABASE $name TEMPLATE template0");
    value($name, 'CREATE EXTENSION pg_semantic' . (defined $version ? " VERSION '$version'" : ''));
    return $name;
}

# Every object of the extension as pg_upgrade would dump it: definitions, comments, privileges, membership.
sub definitions {
    my ($database) = @_;
    my ($dump, $error) = run_command([ "$installation/bin/pg_dump", '--binary-upgrade', '--schema-only', '-d', $node->connstr($database) ]);
    is($error, '', "$database: pg_dump has nothing to say");
    return grep { /\S/ && !/^--|^SET relfrozenxid|^WHERE oid = |^SELECT pg_catalog\.binary_upgrade|^ *'?\d+'?|^\\/ } split /\n/, $dump;
}

# The lines that only one of two databases has.
sub differences {
    my ($first, $second) = @_;
    my %count;
    $count{$_}++ foreach definitions($first);
    $count{$_}-- foreach definitions($second);
    return join "\n", map { ($count{$_} > 0 ? "$first: " : "$second: ") . $_ } sort grep { $count{$_} != 0 } keys %count;
}

# ---- the versions there are ---------------------------------------------------------

my ($status, $output, $error) = $node->psql('postgres', "CREATE EXTENSION pg_semantic VERSION '99'");
like($error, qr/extension "pg_semantic" has no installation script nor update path for version "99"/, 'no such version');
my @paths = split /\n/, value('postgres', q{SELECT source || ' ' || target FROM pg_extension_update_paths('pg_semantic')
    WHERE path IS NOT NULL ORDER BY 1});
ok((grep { $_ eq "$current $next" } @paths), "there is a way from $current to $next");
my $number = 0;
foreach my $path (@paths) {
    my ($source, $target) = split / /, $path;
    my $updated = new_database('updated' . ++$number, $source);
    value($updated, "ALTER EXTENSION pg_semantic UPDATE TO '$target'");
    my $made = new_database("made$number", $target);
    is(value($updated, "SELECT extversion FROM pg_extension WHERE extname = 'pg_semantic'"), $target, "$path: it is version $target");
    is(differences($updated, $made), '', "$path: an update leaves what CREATE EXTENSION makes");
}

# ---- what is in use -----------------------------------------------------------------

my $database = new_database('used', $current);
my $shipped = value($database, q{SELECT setting || '/extension/pg_semantic/default' FROM pg_config WHERE name = 'SHAREDIR'});
value($database, qq{
    SELECT semantic_load_model('half', '$shipped', 'fp16');
    CREATE TABLE docs (id int PRIMARY KEY, body text);
    INSERT INTO docs VALUES (1, 'How to reset the password of your account'), (2, 'Bread wants forty minutes in a hot oven');
    CREATE INDEX docs_body ON docs USING semantic (body);
    CREATE INDEX docs_half ON docs USING semantic (body) WITH (model = half);
    CREATE VIEW nearest AS SELECT id FROM docs ORDER BY body <=> 'I cannot log in' LIMIT 1});
my $session = $node->background_psql($database);
is($session->query_safe('SELECT id FROM nearest'), '1', 'before the update');
value($database, 'ALTER EXTENSION pg_semantic UPDATE');
is(value($database, q{SELECT extversion FROM pg_extension WHERE extname = 'pg_semantic'}), $next, 'the update is to the default version');
is(value($database, q{SELECT procost FROM pg_proc WHERE proname = 'semantic_count_tokens'}), '1234', 'a function is replaced');
is($session->query_safe('SELECT semantic_next()'), 'next', 'a session that was there has the new one');
is($session->query_safe(q{INSERT INTO docs VALUES (3, 'I cannot log in'); SELECT id FROM nearest}), '3', 'and goes on with its index');
$session->quit;
foreach my $index (qw(docs_body docs_half)) {
    is(value($database, "SELECT count(*) FROM semantic_index_check('$index')"), '0', "after the update: $index is sound");
}

my $dump = "$PostgreSQL::Test::Utils::tmp_check/used.sql";
$node->command_ok([ "$installation/bin/pg_dump", '-f', $dump, '-d', $node->connstr($database) ], 'pg_dump');
my @made_by_hand = grep { /^(CREATE|ALTER)/ && !/docs|nearest|EXTENSION/ } split /\n/, slurp_file($dump);
is("@made_by_hand", '', 'an object of the extension is in no dump');
value('postgres', 'CREATE DATABASE restored TEMPLATE template0');
$node->command_ok([ "$installation/bin/psql", '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('restored') ], 'the dump is restored');
is(value('restored', 'SELECT id FROM nearest'), '3', 'the restored index answers');
is(value('restored', 'SELECT string_agg(name, $$ $$ ORDER BY name) FROM semantic_models'), 'default half', 'with the models, each once');
is(value('restored', q{SELECT semantic_embed('same', 'half')::text}), value($database, q{SELECT semantic_embed('same', 'half')::text}), 'which compute the same');

# ---- membership ---------------------------------------------------------------------

# All in a schema of its own: what is there without belonging to the extension (or to an object that does) was forgotten.
value('postgres', 'CREATE DATABASE alone TEMPLATE template0');
value('alone', "CREATE SCHEMA apart; CREATE EXTENSION pg_semantic SCHEMA apart VERSION '$current'");
is(value('alone', q{
    SELECT string_agg(pg_describe_object(o.classid, o.oid, 0), ', ')
    FROM (SELECT 'pg_class'::regclass AS classid, oid, relnamespace AS space FROM pg_class
          UNION ALL SELECT 'pg_proc'::regclass, oid, pronamespace FROM pg_proc
          UNION ALL SELECT 'pg_type'::regclass, oid, typnamespace FROM pg_type
          UNION ALL SELECT 'pg_operator'::regclass, oid, oprnamespace FROM pg_operator
          UNION ALL SELECT 'pg_opclass'::regclass, oid, opcnamespace FROM pg_opclass
          UNION ALL SELECT 'pg_opfamily'::regclass, oid, opfnamespace FROM pg_opfamily) AS o
    WHERE o.space = 'apart'::regnamespace
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = o.classid AND d.objid = o.oid AND d.deptype IN ('e', 'i', 'a'))}),
    '', 'every object belongs to the extension');
value('alone', 'CREATE SCHEMA elsewhere; ALTER EXTENSION pg_semantic SET SCHEMA elsewhere');
is(value('alone', q{SELECT cardinality(elsewhere.semantic_embed('x')) > 0}), 't', 'it works in another schema');
value('alone', 'DROP EXTENSION pg_semantic');
is(value('alone', q{SELECT count(*) FROM pg_depend WHERE refclassid = 'pg_namespace'::regclass AND refobjid IN ('apart'::regnamespace, 'elsewhere'::regnamespace)}),
    '0', 'and leaves nothing when it goes');
no_crash_in_log($node, 'versions');
$node->stop;
done_testing();
