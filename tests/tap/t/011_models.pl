# Models in the database: who may load them, when sessions see them, what
# happens to them in a dump, on a standby, after a crash and with damaged files,
# and that a server maps one copy for all sessions.
use strict;
use warnings;

use File::Copy qw(copy);
use File::Path qw(make_path);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $models = $ENV{PG_SEMANTIC_MODELS} // '';
if (!-d "$models/bert-base")
{
	diag("SKIP: no conformance models in '$models'");
	plan skip_all => "SKIP: no conformance models in '$models'";
}

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init(allows_streaming => 1, extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->append_conf('postgresql.conf', "max_wal_senders = 4\nshared_preload_libraries = 'pg_semantic'\n");
$node->start;
my $model_directory = $node->data_dir . '/pg_semantic/models';

sub sqlstate_is
{
	my ($sql, $sqlstate, $name, %options) = @_;
	my ($status, undef, $err) =
	  $node->psql($options{database} // 'postgres', "\\set VERBOSITY verbose\n$sql", on_error_stop => 1, %options);
	isnt($status, 0, "$name fails");
	like($err, qr/ERROR:  $sqlstate/, "$name: $sqlstate");
	return $err;
}

sub value { my ($sql, $database) = @_; return $node->safe_psql($database // 'postgres', $sql); }

sub temporary_files { my @files = glob("$model_directory/pgsql_tmp*"); return scalar @files; }

value('CREATE EXTENSION pg_semantic');
is(value('SELECT name FROM semantic_models'), 'default', 'the shipped model is there');
cmp_ok(value(q{SELECT cardinality(semantic_embed('hello'))}), '>', 0, 'and embeds');

# ---- privileges ------------------------------------------------------------------

value('CREATE ROLE plain LOGIN; CREATE ROLE loader LOGIN IN ROLE pg_read_server_files');
value("SET ROLE loader; SELECT semantic_load_model('base', '$models/bert-base')");
cmp_ok(value(q{SET ROLE plain; SELECT cardinality(semantic_embed('x', 'base'))}), '>', 0,
	'a role without rights embeds with what another loaded');
is(value(q{SET ROLE plain; SELECT count(*) FROM semantic_models}), '2', 'and reads the view');
sqlstate_is("SET ROLE plain; SELECT semantic_load_model('mine', '$models/bert-base')", '42501', 'loading without rights');
sqlstate_is(q{SET ROLE plain; SELECT semantic_drop_model('base')}, '42501', 'dropping without rights');
foreach my $table (qw(semantic_model_catalog semantic_model_parts))
{
	sqlstate_is("SET ROLE loader; SELECT * FROM $table", '42501', "reading $table");
	sqlstate_is("SET ROLE loader; DELETE FROM $table", '42501', "deleting from $table");
}

# ---- errors ------------------------------------------------------------------------

sqlstate_is("SELECT semantic_load_model('base', '$models/st-cls')", '42710', 'an existing name');
like(sqlstate_is("SELECT semantic_load_model('x', '$models/bert-base', 'fp7')", '22023', 'an unknown precision'),
	qr/HINT:.*"fp32", "fp16" and "int8"/, 'which lists those there are');
sqlstate_is("SELECT semantic_load_model('x', '$models/no-such-directory')", '58P01', 'a missing directory');
sqlstate_is("SELECT semantic_load_model(NULL, '$models/bert-base')", '22004', 'a NULL name');
sqlstate_is(q{SELECT semantic_load_model('x', NULL)}, '22004', 'a NULL path');
sqlstate_is("SELECT semantic_load_model('x', '$models/bert-base', NULL)", '22004', 'a NULL precision');
sqlstate_is(q{SELECT semantic_drop_model(NULL)}, '22004', 'dropping NULL');
sqlstate_is("SELECT semantic_load_model('', '$models/bert-base')", '42602', 'an empty name');
sqlstate_is("SELECT semantic_load_model(repeat('x', 256), '$models/bert-base')", '42602', 'a long name');
sqlstate_is(q{SELECT semantic_drop_model('default')}, '2BP01', 'dropping the shipped model');
sqlstate_is("BEGIN READ ONLY; SELECT semantic_load_model('x', '$models/bert-base')", '25006', 'loading in a read-only transaction');
like(sqlstate_is(q{SELECT semantic_drop_model('nobody')}, '42704', 'dropping an unknown model'),
	qr/"base", "default"/, 'which lists the names there are');
like(sqlstate_is(q{SELECT semantic_embed('x', 'nobody')}, '42704', 'embedding with an unknown model'),
	qr/"base", "default"/, 'which lists the names there are');
sqlstate_is(q{SET semantic.model = 'nobody'; SELECT semantic_embed('x')}, '42704', 'a setting that names no model');

# Damaged directories: an error of a fitting class, quickly, and the server lives.
sub damaged
{
	my ($name, $sqlstate, $damage) = @_;
	my $directory = PostgreSQL::Test::Utils::tempdir() . "/$name";
	make_path($directory);
	foreach my $file (glob("$models/bert-base/*"))
	{
		copy($file, $directory) or die "copy $file: $!";
	}
	$damage->($directory);
	chmod 0755, $directory;
	sqlstate_is("SET statement_timeout = '30s'; SELECT semantic_load_model('damaged', '$directory')", $sqlstate, "$name");
	return;
}

sub overwrite
{
	my ($file, $content) = @_;
	unlink $file;
	open my $handle, '>:raw', $file or die "$file: $!";
	print $handle $content;
	close $handle or die "$file: $!";
	return;
}

my $data_error = '(22000|0A000|22023|XX001)';
damaged('truncated weights', $data_error, sub { truncate("$_[0]/model.safetensors", 1000) or die $! });
damaged('empty weights', $data_error, sub { overwrite("$_[0]/model.safetensors", '') });
damaged('lying header length', $data_error,
	sub { overwrite("$_[0]/model.safetensors", "\xF0" . "\xFF" x 7 . '{}') });
damaged('header that is no JSON', $data_error, sub { overwrite("$_[0]/model.safetensors", pack('Q<', 8) . '{{{{{{{{') });
damaged('deep JSON', $data_error, sub { overwrite("$_[0]/config.json", '[' x 1_000_000) });
damaged('empty configuration', $data_error, sub { overwrite("$_[0]/config.json", '{}') });
damaged('absurd configuration', $data_error,
	sub {
		overwrite("$_[0]/config.json",
			'{"model_type":"bert","hidden_size":-1,"num_hidden_layers":999999999999,"num_attention_heads":0,"vocab_size":1e300}');
	});
damaged('missing vocabulary', '(58P01|22000)', sub { unlink "$_[0]/vocab.txt", "$_[0]/tokenizer.json" });
damaged('a FIFO for weights', '(58P01|22000|58030|0A000)',
	sub { unlink "$_[0]/model.safetensors"; system('mkfifo', "$_[0]/model.safetensors") == 0 or die });
damaged('a sparse file of gigabytes', $data_error,
	sub { overwrite("$_[0]/model.safetensors", ''); truncate("$_[0]/model.safetensors", 8 * 2**30) or die $! });
# Rewrites a safetensors file: its JSON header and its data.
sub rewrite_weights
{
	my ($file, $change) = @_;
	my $content = slurp_file($file);
	my $length = unpack('Q<', substr($content, 0, 8));
	my ($header, $data) = $change->(substr($content, 8, $length), substr($content, 8 + $length));
	overwrite($file, pack('Q<', length $header) . $header . $data);
	return;
}
damaged('NaN weights', $data_error,
	sub { rewrite_weights("$_[0]/model.safetensors", sub { ($_[0], "\x00\x00\xc0\x7f" x (length($_[1]) / 4)) }) });
damaged('a tensor of another shape', $data_error,
	sub {
		rewrite_weights("$_[0]/model.safetensors", sub { my ($h, $d) = @_; $h =~ s/"shape":\s*\[(\d+),\s*(\d+)\]/"shape":[$2,$1]/g; ($h, $d) });
	});
damaged('offsets past the end', $data_error,
	sub {
		rewrite_weights("$_[0]/model.safetensors", sub { my ($h, $d) = @_; $h =~ s/"data_offsets":\s*\[(\d+),\s*\d+\]/"data_offsets":[$1,18446744073709551615]/; ($h, $d) });
	});
damaged('a shard outside the directory', '(22000|0A000|58P01|22023)',
	sub {
		rename "$_[0]/model.safetensors", "$_[0]/../outside.safetensors" or die $!;
		overwrite("$_[0]/model.safetensors.index.json", '{"weight_map":{"embeddings.word_embeddings.weight":"../outside.safetensors"}}');
	});
# Weights that half precision cannot hold: 70000 throughout.
my $large = PostgreSQL::Test::Utils::tempdir() . '/large';
make_path($large);
foreach my $file (glob("$models/bert-base/*")) { copy($file, $large) or die "copy $file: $!"; }
chmod 0755, $large;
rewrite_weights("$large/model.safetensors", sub { ($_[0], pack('f<', 70000) x (length($_[1]) / 4)) });
foreach my $precision (qw(fp16 int8))
{
	like(sqlstate_is("SELECT semantic_load_model('large', '$large', '$precision')", '0A000', "$precision of a weight of 70000"),
		qr/too large for half precision.*DETAIL:.*70000.*65504/s, 'which names it');
}
is(value(q{SELECT count(*) FROM semantic_models WHERE name IN ('x', 'damaged', 'large')}), '0', 'nothing of a failed load is left');
is(value(q{SELECT count(*) FROM semantic_model_parts WHERE NOT shipped AND fingerprint NOT IN (SELECT fingerprint FROM semantic_models)}), '0',
	'nor any of its parts');

# Symbolic links to regular files, as a Hugging Face cache has them, are sound.
my $linked = PostgreSQL::Test::Utils::tempdir() . '/linked';
make_path($linked);
symlink $_, "$linked/" . (split m{/})[-1] or die $! foreach glob("$models/bert-base/*");
value("BEGIN; SELECT semantic_load_model('linked', '$linked'); ROLLBACK");
pass('a directory of symbolic links loads');
is(temporary_files(), 0, 'no temporary file of a failed load is left');
my $started = value('SELECT pg_postmaster_start_time()');

# ---- who sees what when ----------------------------------------------------------------

my $writer = $node->background_psql('postgres', on_error_stop => 0);
my $reader = $node->background_psql('postgres', on_error_stop => 0);
my $load = "SELECT semantic_load_model('fresh', '$models/st-cls')";
my $dimensions = q{SELECT cardinality(semantic_embed('x', 'fresh'))};

sub fails_in
{
	my ($session, $sql, $pattern, $name) = @_;
	$session->{stderr} = '';
	$session->query($sql);
	like($session->{stderr}, $pattern, $name);
	$session->{stderr} = '';
	return;
}

$writer->query_safe('BEGIN');
$writer->query_safe($load);
is($writer->query_safe($dimensions), '32', 'a loaded model embeds at once in its own transaction');
fails_in($reader, $dimensions, qr/model "fresh" does not exist/, 'and is unknown elsewhere before commit');
$writer->query_safe('ROLLBACK');
fails_in($writer, $dimensions, qr/model "fresh" does not exist/, 'after a rollback it is gone');

$writer->query_safe('BEGIN; SAVEPOINT s');
$writer->query_safe($load);
is($writer->query_safe($dimensions), '32', 'loaded in a subtransaction');
$writer->query_safe('ROLLBACK TO s');
fails_in($writer, $dimensions, qr/model "fresh" does not exist/, 'gone with the subtransaction');
$writer->query_safe('ROLLBACK');

$reader->query_safe('BEGIN');
$writer->query_safe($load);
is($reader->query_safe($dimensions), '32', 'after commit a transaction that had begun before sees it');
$reader->query_safe('COMMIT');
$writer->query_safe('BEGIN');
$writer->query_safe(q{SELECT semantic_drop_model('fresh')});
fails_in($writer, $dimensions, qr/model "fresh" does not exist/, 'a dropped model is gone in its own transaction');
is($reader->query_safe($dimensions), '32', 'and still there elsewhere');
$writer->query_safe('ROLLBACK');
is($writer->query_safe($dimensions), '32', 'a drop that is rolled back leaves it');
$writer->query_safe(q{SELECT semantic_drop_model('fresh')});
fails_in($reader, $dimensions, qr/model "fresh" does not exist/, 'after commit the drop is seen elsewhere');

# The same name stands for another model at once.
$writer->query_safe("SELECT semantic_load_model('fresh', '$models/st-cls-mean')");
is($reader->query_safe($dimensions), '64', 'a name that is loaded again stands for the new model');
my $query_value = $reader->query_safe(q{CREATE TABLE kept AS SELECT semantic_query('x', 'fresh') AS query});
$writer->query_safe(q{SELECT semantic_drop_model('fresh')});
fails_in($reader, q{SELECT 'x'::text <=> query FROM kept}, qr/model of this semantic_query does not exist any more/,
	'a stored query knows that its model is gone');
$writer->query_safe("SELECT semantic_load_model('other name', '$models/st-cls-mean')");
is($reader->query_safe(q{SELECT round(('x'::text <=> query)::numeric, 5) FROM kept}), '0.00000',
	'and works again with the same model under another name');
$writer->query_safe(q{SELECT semantic_drop_model('other name'); DROP TABLE kept});

# Two names, one model: the parts are shared, and stay until the last name goes.
value("SELECT semantic_load_model('again', '$models/bert-base')");
is(value(q{SELECT count(DISTINCT fingerprint) FROM semantic_models WHERE name IN ('base', 'again')}), '1', 'one fingerprint');
is(value(q{SELECT count(*) FROM (SELECT DISTINCT fingerprint FROM semantic_model_parts WHERE NOT shipped) AS p}), '1', 'stored once');
value(q{SELECT semantic_drop_model('base')});
cmp_ok(value(q{SELECT cardinality(semantic_embed('x', 'again'))}), '>', 0, 'the other name goes on');
value(q{SELECT semantic_drop_model('again')});
is(value(q{SELECT count(*) FROM semantic_model_parts WHERE NOT shipped}), '0', 'the last name takes the parts along');

# Two sessions load one model at the same time, and two take one name.
$writer->query_safe('BEGIN');
$writer->query_safe("SELECT semantic_load_model('one', '$models/bert-base')");
$reader->query_until(qr/sent/, "\\echo sent\nSELECT semantic_load_model('two', '$models/bert-base');\n");
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE NOT granted}) or die 'no one waits';
$writer->query_safe('COMMIT');
like($reader->query_safe(q{SELECT string_agg(name, ',' ORDER BY name) FROM semantic_models}),
	qr/^default,one,two$/m, 'both loads went through');
is(value(q{SELECT semantic_embed('x', 'one') = semantic_embed('x', 'two')}), 't', 'with the same embeddings');
$writer->query_safe('BEGIN');
$writer->query_safe("SELECT semantic_load_model('three', '$models/bert-base')");
$reader->{stderr} = '';
$reader->query_until(qr/sent/, "\\echo sent\nSELECT semantic_load_model('three', '$models/st-cls');\n");
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE NOT granted}) or die 'no one waits';
$writer->query_safe('COMMIT');
$reader->query('SELECT 1');
like($reader->{stderr}, qr/model "three" already exists/, 'the second to take a name is told so');
$reader->{stderr} = '';
is(temporary_files(), 0, 'no temporary file is left');
$writer->quit;
$reader->quit;

# ---- a model that an index uses ------------------------------------------------------------

value("SELECT semantic_load_model('indexed', '$models/st-minilm')");
value(q{CREATE TABLE notes AS SELECT 'a note about ' || topic AS body FROM unnest(ARRAY['cats', 'trains', 'rain']) AS topic;
        CREATE INDEX notes_body ON notes USING semantic (body) WITH (model = 'indexed')});
like(sqlstate_is(q{SELECT semantic_drop_model('indexed')}, '2BP01', 'dropping the model of an index'),
	qr/"notes_body"/, 'which names the index');
value(q{DROP INDEX notes_body; SELECT semantic_drop_model('indexed')});
is(value(q{SELECT count(*) FROM semantic_models WHERE name = 'indexed'}), '0', 'without the index it can be dropped');

# An index that is not committed yet holds its model, too.
value("SELECT semantic_load_model('indexed', '$models/st-minilm')");
my $builder = $node->background_psql('postgres', on_error_stop => 0);
$builder->query_safe(q{BEGIN; CREATE INDEX notes_body ON notes USING semantic (body) WITH (model = 'indexed')});
my $dropper = $node->background_psql('postgres', on_error_stop => 0);
$dropper->query_until(qr/sent/, "\\echo sent\nSELECT semantic_drop_model('indexed');\n");
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE NOT granted}) or die 'no one waits';
$builder->query_safe('COMMIT');
$dropper->query('SELECT 1');
like($dropper->{stderr}, qr/cannot drop model "indexed" because an index uses it/, 'a drop waits for an index that is being built');
$_->quit foreach $builder, $dropper;
value(q{DROP TABLE notes; SELECT semantic_drop_model('indexed')});

# ---- dump and restore --------------------------------------------------------------------

value("SELECT semantic_load_model('prompted', '$models/st-prompts')");
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
$node->command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', $dump ], 'pg_dump');
value('CREATE DATABASE restored TEMPLATE template0');
# Files of the cluster are shared by its databases: without them the parts must do.
my %file_of = map { split /\|/ } split /\n/, value(q{SELECT name, fingerprint FROM semantic_models});
unlink glob("$model_directory/*.model");
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $dump ], 'restore');
my $everything = q{SELECT name, fingerprint, semantic_embed('the same numbers', name) FROM semantic_models ORDER BY name};
is(value($everything, 'restored'), value($everything), 'restored models give identical embeddings');
is(value(q{SELECT semantic_embed('x', 'prompted', 'query')}, 'restored'),
	value(q{SELECT semantic_embed('x', 'prompted', 'query')}), 'prompts included');
value(q{SELECT semantic_drop_model('prompted')}, 'restored');
is(value(q{SELECT count(*) FROM semantic_models WHERE name = 'prompted'}), '1', 'a drop in one database leaves the other alone');

# Rows that come by COPY are seen by a session that is there already.
value('CREATE DATABASE copied TEMPLATE template0');
value('CREATE EXTENSION pg_semantic', 'copied');
my $present = $node->background_psql('copied', on_error_stop => 0);
fails_in($present, q{SELECT semantic_embed('x', 'one')}, qr/does not exist/, 'not there yet');
$node->command_ok([ 'bash', '-c', sprintf(q{pg_dump -d '%s' --data-only | psql -X -q -v ON_ERROR_STOP=1 -d '%s'}, $node->connstr('postgres'), $node->connstr('copied')) ], 'copy of the data');
is($present->query_safe(q{SELECT cardinality(semantic_embed('x', 'one')) > 0}), 't', 'there after COPY');
$present->query_safe(q{DELETE FROM semantic_model_catalog WHERE name = 'one'});
fails_in($present, q{SELECT semantic_embed('x', 'one')}, qr/does not exist/, 'gone after DELETE');
$present->quit;

# ---- relocation, DROP EXTENSION ------------------------------------------------------------

value('CREATE SCHEMA elsewhere; ALTER EXTENSION pg_semantic SET SCHEMA elsewhere', 'copied');
is(value(q{SELECT cardinality(elsewhere.semantic_embed('x', 'two')) > 0}, 'copied'), 't', 'works in another schema');
value('DROP EXTENSION pg_semantic', 'copied');
is(value(q{SELECT count(*) FROM pg_class WHERE relname LIKE 'semantic%'}, 'copied'), '0', 'DROP EXTENSION leaves no relation');
is(value(q{SELECT count(*) FROM pg_proc WHERE proname LIKE 'semantic%'}, 'copied'), '0', 'and no function');

# ---- files: missing, damaged, left over ------------------------------------------------------

my $expected = value(q{SELECT semantic_embed('x', 'prompted')});
my ($file) = glob("$model_directory/$file_of{prompted}-v*.model");
ok(-f $file, 'the file is there under its name') or diag(join "\n", glob("$model_directory/*"));
is((stat $file)[2] & 0777, 0600, 'with the permissions of the data directory');
overwrite($file, 'short');
is(value(q{SELECT semantic_embed('x', 'prompted')}), $expected, 'a short file is made again');
overwrite($file, "\0" x value(q{SELECT bytes FROM semantic_models WHERE name = 'prompted'}));
is(value(q{SELECT semantic_embed('x', 'prompted')}), $expected, 'a file of zeros is made again');
system('rm', '-r', $node->data_dir . '/pg_semantic') == 0 or die;
is(value(q{SELECT semantic_embed('x', 'prompted')}), $expected, 'a directory that is gone is made again');
overwrite("$model_directory/pgsql_tmp.999999999.0", 'left by a crash');
overwrite("$model_directory/pgsql_tmp.$$.0", 'written by a process that lives');
unlink $file;
is(value(q{SELECT semantic_embed('x', 'prompted')}), $expected, 'made again');
is(temporary_files(), 1, 'the leftover of a dead process is gone, that of a living one is not');
unlink "$model_directory/pgsql_tmp.$$.0";
value(q{BEGIN; UPDATE semantic_model_parts SET data = overlay(data PLACING '\xdeadbeef'::bytea FROM 1000)
        WHERE fingerprint = (SELECT fingerprint FROM semantic_models WHERE name = 'prompted'); COMMIT});
unlink $file;
sqlstate_is(q{SELECT semantic_embed('x', 'prompted')}, 'XX001', 'damaged parts');
value(q{DELETE FROM semantic_model_parts WHERE fingerprint = (SELECT fingerprint FROM semantic_models WHERE name = 'prompted')});
sqlstate_is(q{SELECT semantic_embed('x', 'prompted')}, 'XX001', 'missing parts');
value(q{SELECT semantic_drop_model('prompted')});
is(temporary_files(), 0, 'no temporary file is left');

# Many sessions need a missing file at once.
$expected = value(q{SELECT semantic_embed('x')});
unlink glob("$model_directory/*.model");
my @sessions = map { $node->background_psql('postgres', on_error_stop => 0) } 1 .. 6;
$_->query_until(qr/sent/, "\\echo sent\nSELECT semantic_embed('x');\n") foreach @sessions;
my @answers = map { my $answer = $_->query_safe('SELECT 1'); $_->quit; $answer } @sessions;
is(scalar(grep { $_ eq "$expected\n1" } @answers), 6, 'six sessions that make one file at once agree')
  or diag(join "\n", @answers);
is(temporary_files(), 0, 'and leave no temporary file');

# ---- one copy for all sessions -----------------------------------------------------------------

# Private and proportional size, kB, of the mappings of model files in a process.
sub mapped
{
	my ($pid) = @_;
	my ($in_model, %sum) = (0);
	open my $handle, '<', "/proc/$pid/smaps" or return;
	while (my $line = <$handle>)
	{
		if ($line =~ /^[0-9a-f]+-[0-9a-f]+ /) { $in_model = $line =~ /\.model$/; }
		elsif ($in_model && $line =~ /^(\w+):\s+(\d+) kB/) { $sum{$1} += $2; }
	}
	close $handle;
	return \%sum;
}

my @pair = map { $node->background_psql('postgres', on_error_stop => 0) } 1 .. 2;
$_->query_safe(q{SELECT semantic_embed('what two sessions read')}) foreach @pair;
my @memory = map { mapped($_->query_safe('SELECT pg_backend_pid()')) } @pair;
foreach my $memory (@memory)
{
	cmp_ok($memory->{Rss}, '>', 1000, 'the weights are mapped');
	cmp_ok($memory->{Private_Dirty} + $memory->{Private_Clean}, '<', $memory->{Rss} / 20, 'none of them privately');
	cmp_ok($memory->{Pss}, '<', $memory->{Rss} * 0.6, 'a session counts for half of them');
}
note("Rss $memory[0]{Rss} kB, Pss $memory[0]{Pss} kB");

# ---- interrupts -----------------------------------------------------------------------------------

my $long_batch = q{SELECT count(*) FROM semantic_embed_batch(array_fill('one long text after the other '::text || repeat('word ', 300), ARRAY[20000]))};
my $began = time;
sqlstate_is("SET statement_timeout = '300ms'; $long_batch", '57014', 'a long batch that is cancelled');
cmp_ok(time - $began, '<', 20, 'stops soon');

# ---- a standby ---------------------------------------------------------------------------------------

$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
value("SELECT semantic_load_model('late', '$models/st-minilm')");
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is($standby->safe_psql('postgres', q{SELECT semantic_embed('on both', 'late')}), value(q{SELECT semantic_embed('on both', 'late')}),
	'a standby embeds with a model that was loaded after it began');
my $seen = $standby->background_psql('postgres', on_error_stop => 0);
is($seen->query_safe(q{SELECT cardinality(semantic_embed('x', 'late')) > 0}), 't', 'a session of the standby uses it');
value(q{SELECT semantic_drop_model('late')});
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
fails_in($seen, q{SELECT semantic_embed('x', 'late')}, qr/model "late" does not exist/, 'and sees that it was dropped');
$seen->quit;
my ($status, undef, $err) = $standby->psql('postgres', "SELECT semantic_load_model('x', '$models/bert-base')");
like($err, qr/read-only transaction/, 'a standby loads nothing');
$standby->stop;

# ---- the server as it was ------------------------------------------------------------------------------

is(value('SELECT pg_postmaster_start_time()'), $started, 'the server was never restarted');
my ($postmaster) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid');
my @threads = glob("/proc/$postmaster/task/*");
is(scalar @threads, 1, 'the postmaster has one thread');
unlike(slurp_file($node->logfile), qr/was terminated by signal|PANIC/, 'no process died');

$node->stop;
done_testing();
