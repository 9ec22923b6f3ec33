#!/usr/bin/env perl
# Prints what apt knows of every package as rows for COPY: name, section, and
# the description in full.
#
# A package list holds the first line of each description; the rest is in the
# lists "Translation-en", found by the description's MD5, where apt fetches them
# (it does unless it was told Acquire::Languages "none").
use strict;
use warnings;

sub copy_field {
    my ($text) = @_;
    $text =~ s/\\/\\\\/g;
    $text =~ s/\t/\\t/g;
    $text =~ s/\r/\\r/g;
    $text =~ s/\n/\\n/g;
    return $text;
}

# Control-file paragraphs as hashes of the fields that are asked for.
sub each_paragraph {
    my ($handle, $wanted, $action) = @_;
    local $/ = '';
    while (my $paragraph = <$handle>) {
        my %fields;
        while ($paragraph =~ /^([A-Za-z0-9-]+):[ \t]*(.*(?:\n[ \t].*)*)/mg) {
            $fields{$1} = $2 if $wanted->{$1};
        }
        $action->(\%fields);
    }
}

# "short line\n long lines\n .\n more" as plain text: paragraphs joined, "." lines as breaks.
sub plain_text {
    my ($description) = @_;
    my ($short, @lines) = split /\n/, $description;
    my $text = $short;
    my $separator = "\n";
    for my $line (@lines) {
        if ($line =~ /^\s*\.\s*$/) { $separator = "\n"; next; }
        $separator = "\n" if $line =~ /^  /;    # a list or an example keeps its lines
        $line =~ s/^\s+|\s+$//g;
        $text .= "$separator$line";
        $separator = ' ';
    }
    return $text;
}

my %long;
for my $list (glob '/var/lib/apt/lists/*_i18n_Translation-en*') {
    open my $handle, '-|', '/usr/lib/apt/apt-helper', 'cat-file', $list or next;
    each_paragraph($handle, { map { $_ => 1 } qw(Description-md5 Description-en) }, sub {
        my ($fields) = @_;
        $long{ $fields->{'Description-md5'} } = $fields->{'Description-en'}
          if defined $fields->{'Description-md5'} && defined $fields->{'Description-en'};
    });
    close $handle;
}

my %seen;
open my $available, '-|', 'apt-cache', 'dumpavail' or die "cannot run apt-cache: $!\n";
each_paragraph($available, { map { $_ => 1 } qw(Package Section Description Description-en Description-md5) }, sub {
    my ($fields) = @_;
    my $description = $fields->{'Description-en'} // $fields->{Description};
    return unless defined $fields->{Package} && defined $description && !$seen{ $fields->{Package} }++;
    my $md5 = $fields->{'Description-md5'};
    $description = $long{$md5} if defined $md5 && defined $long{$md5};
    print join("\t", map { copy_field($_) } $fields->{Package}, $fields->{Section} // '', plain_text($description)), "\n";
});
close $available;
