#!/usr/bin/env perl
# sentences.pl COUNT FILE.gz…: prints COUNT distinct sentences of at least five
# words from files of text, one a line, ready for COPY.
use strict;
use warnings;

my ($count, @files) = @ARGV;
my %seen;
for my $file (@files) {
    open my $text, '-|', 'gzip', '-dc', $file or die "$file: $!\n";
    while (my $line = <$text>) {
        chomp $line;
        for my $sentence (map { split /(?<=[.?!])\s+(?=[A-Z])/ } split /\t/, $line) {
            $sentence =~ s/[\s\\]+/ /g;
            $sentence =~ s/^ | $//g;
            next if ($sentence =~ tr/ //) < 4 || $seen{$sentence}++;
            print "$sentence\n";
            exit if --$count == 0;
        }
    }
    close $text;
}
