"""What is given away: its files, cards and sums; no private data reach any module here."""
