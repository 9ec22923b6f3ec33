#!/usr/bin/env perl
# sentences.pl COUNT FILE…: prints COUNT distinct sentences of at least five
# words from files of text (gzipped or plain), one a line, ready for COPY; and, where
# these are not enough, stretches of twelve words, which do not overlap each other.
use strict;
use warnings;

my ($count, @files) = @ARGV;
my %seen;

sub put {
    my ($text) = @_;
    return if $seen{$text}++;
    print "$text\n";
    exit if --$count == 0;
}

# Calls the sub with every field of every line, white space made single.
sub each_field {
    my ($visit) = @_;
    for my $file (@files) {
        open my $text, '-|', 'gzip', '-dcf', $file or die "$file: $!\n";
        while (my $line = <$text>) {
            for my $field (split /\t/, $line) {
                $field =~ s/[\s\\]+/ /g;
                $field =~ s/^ | $//g;
                $visit->($field);
            }
        }
        close $text;
    }
}

each_field(sub {
    for my $sentence (split / (?<=[.?!] )(?=[A-Z])/, $_[0]) {
        put($sentence) if ($sentence =~ tr/ //) >= 4;
    }
});
each_field(sub {
    my @words = split / /, $_[0];
    while (my @stretch = splice @words, 0, 12) { put("@stretch") if @stretch > 6 }
});
