# Nobody but the server's user reads what the extension keeps in the data directory:
# its files have the modes of the server's own, also where the group may read those.
use strict;
use warnings;
use File::Find ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use PgSemantic::TestServer;

# [path, mode] of those whose mode is another one.
sub unlike_modes {
    my ($directory, $directory_mode, $file_mode) = @_;
    my ($count, @others) = (0);
    File::Find::find(sub {
        my $mode = (lstat $_)[2] // return;  # the worker removes files of its own
        $count++;
        my $wanted = -d _ ? $directory_mode : $file_mode;
        push @others, sprintf('%s %04o', $File::Find::name, $mode & 07777) if ($mode & 07777) != $wanted;
    }, $directory);
    cmp_ok($count, '>', 5, 'there are files');
    return @others;
}

foreach my $group (0, 1) {
    my $node = PostgreSQL::Test::Cluster->new("modes_$group");
    $node->init(extra => [ $group ? '--allow-group-access' : (), '--encoding=UTF8', '--locale=C.UTF-8' ]);
    $node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_semantic'");
    # As a careless start script has it.
    my $before = umask 0;
    $node->start;
    umask $before;
    $node->safe_psql('postgres', q{
        CREATE EXTENSION pg_semantic;
        CREATE TABLE docs (id int, body text);
        INSERT INTO docs SELECT i, 'text number ' || i FROM generate_series(1, 2000) AS i;
        CREATE INDEX docs_body ON docs USING semantic (body);
        INSERT INTO docs VALUES (0, 'one more')});
    my @modes = $group ? (0750, 0640) : (0700, 0600);
    my @others = unlike_modes($node->data_dir . '/pg_semantic', @modes);
    is("@others", '', sprintf('modes %04o and %04o%s', @modes, $group ? ', with group access' : ''));
    ok(-e $node->data_dir . '/pg_semantic/models', 'the model has a file');
    $node->stop;
}
done_testing();
