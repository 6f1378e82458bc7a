"""Tables in CSV that are broken or made to harm."""

import gzip
import os

from tests.curation.hostile.sources import GOOD, HEADER, MORE, WEBVID, hostile, own, table, webvid


@hostile(good=2, bad_text=1)
def invalid_utf8(folder):
    return webvid(folder, b"3,u,x,p,caf\xe9\n")


@hostile(good=2, bad_text=1)
def surrogate_in_utf8(folder):
    return webvid(folder, b"3,u,x,p,\xed\xa0\x80\n")


@hostile(good=2)
def byte_order_mark(folder):
    return table(folder, b"\xef\xbb\xbf" + HEADER + GOOD + MORE)


@hostile(good=3)
def nul_in_caption(folder):
    return webvid(folder, b"3,u,x,p,A\0 dog\0\n")


@hostile(good=2, bad_path=2)
def nul_in_path(folder):
    return webvid(folder, b"3\0,u,x,p,A dog\n", b"3,u,x,p\0q,A dog\n")


@hostile(good=3)
def control_characters_in_caption(folder):
    return webvid(folder, "3,u,x,p,A\x07 \x1b[31mdog\u202e \x85runs\u2028on\n".encode())


@hostile(good=4)
def formulas(folder):
    return webvid(folder, b"3,u,x,p,\"=cmd|' /C calc'!A0\"\n", b"4,u,x,p,@SUM(1+1)\n")


@hostile(good=3)
def long_caption(folder):
    return webvid(folder, b"3,u,x,p," + b"long " * 20_000 + b"\n")


@hostile(good=2, bad_row=3)
def wrong_number_of_cells(folder):
    return webvid(folder, b"3,u,x,p\n", b"4,u,x,p,A dog,runs\n", b"5\n")


@hostile(good=2, repeated_header=2)
def concatenated_tables(folder):
    return webvid(folder, HEADER, HEADER)


@hostile(good=2)
def blank_lines(folder):
    return webvid(folder, b"\n\n\r\n" * 50)


@hostile(good=4, bad_row=1)
def open_quote(folder):
    return webvid(folder, b'3,u,x,p,"A dog\n', b"4,u,x,p,A cow\n", b'5,u,x,p,"A cat, asleep"\n')


@hostile(good=4, bad_row=1)
def open_quote_to_the_end(folder):
    return webvid(folder, b'3,u,x,p,"A dog\n', b"4,u,x,p,A cow\n", b"5,u,x,p,A cat\n")


@hostile(good=302, cell_too_long=1)
def open_quote_before_many_lines(folder):
    return webvid(folder, b'0,u,x,p,"A dog\n', *(b"9%d,u,x,p,A cow\n" % i for i in range(300)))


@hostile(good=2, bad_row=1)
def text_behind_a_quote(folder):
    return webvid(folder, b'3,u,x,p,"A dog" runs\n')


@hostile(good=3)
def caption_of_several_lines(folder):
    return webvid(folder, b'3,u,x,p,"A dog\n\nruns ""fast""\nhome"\n')


@hostile(good=2, bad_row=2)
def carriage_return_in_a_row(folder):
    return webvid(folder, b"3,u,x,p,A\rdog\n", b"4,u,x,\rp,A dog\n")


@hostile(good=2, other=29_000)
def quotes_that_open_on_every_line(folder):
    return webvid(folder, b'a","x\n' * 30_000)


@hostile(good=2, bad_path=4)
def leaves_the_folder(folder):
    return webvid(folder, b"passwd,u,x,../../../etc,A\n", b"../../x,u,x,p,A\n", b"a,u,x,..,A\n",
                  b"a,u,x,p/../../..,A\n")  # fmt: skip


@hostile(good=1, bad_path=3)
def absolute_paths(folder):
    return own(folder, b"a.mp4,A", b"/etc/passwd,A", b"//host/share/a.mp4,A", b"a//etc/passwd,A")


@hostile(good=2, bad_path=3)
def backslashes(folder):
    return webvid(folder, rb"..\..\x,u,x,p,A" + b"\n", rb"C:\x,u,x,p,A" + b"\n",
                  b"a,u,x,\\\\host\\share,A\n")  # fmt: skip


@hostile(good=2, bad_path=3)
def long_names(folder):
    return webvid(folder, b"3" * 300 + b",u,x,p,A\n", b"3,u,x," + b"p/" * 2000 + b"q,A\n",
                  b"3,u,x," + "\u00e9".encode() * 128 + b",A\n")  # fmt: skip


@hostile(good=3)
def slash_in_an_id(folder):
    return webvid(folder, b"a/b,u,x,p,A\n")


@hostile(good=2, no_id=5)
def ids_that_are_missing(folder):
    return webvid(folder, b",u,x,p,A\n", b"x,u,x,p,A\n", b"NaN,u,x,p,A\n", b"3,u,x,None,A\n",
                  b"   ,u,x,p,A\n")  # fmt: skip


@hostile(good=3)
def percent_and_braces_in_ids(folder):
    return webvid(folder, b"%s{videoid}%d,u,x,p,{name} %s\n")


@hostile("videoid more than once")
def doubled_column(folder):
    return table(folder, b"videoid,page_dir,name,videoid\n1,p,A,2\n")


@hostile("lacks the columns page_dir, name; it has videoid, caption")
def other_columns(folder):
    return table(folder, b"videoid,caption\n1,A\n")


@hostile("is empty")
def empty_file(folder):
    return table(folder, b"")


@hostile("holds no clip")
def header_alone(folder):
    return table(folder, HEADER)


@hostile("does not begin with a header")
def blank_file(folder):
    return table(folder, b"\n \n\n")


@hostile("lacks the columns")
def html_page(folder):
    return table(folder, b"<!DOCTYPE html>\n<html><body>403 Forbidden</body></html>\n")


@hostile("does not begin with a header in UTF-8")
def utf16(folder):
    return table(folder, (HEADER + GOOD).decode().encode("utf-16"))


@hostile("does not begin with a header")
def utf16_without_mark(folder):
    return table(folder, (HEADER + GOOD).decode().encode("utf-16-le"))


@hostile("does not begin with a header")
def video_as_table(folder):
    return table(folder, b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(range(256)) * 20)


@hostile("does not begin with a header")
def old_mac_line_ends(folder):
    return table(folder, (HEADER + GOOD).replace(b"\n", b"\r"))


@hostile("does not begin with a header")
def header_without_end(folder):
    return table(folder, b"videoid," * 300_000 + b"\n" + GOOD)


@hostile("is no file")
def folder_as_table(folder):
    (folder / "clips.csv").mkdir()
    return {**WEBVID, "table": str(folder / "clips.csv"), "data_dir": "d"}


@hostile("there is no file")
def absent_file(folder):
    return {**WEBVID, "table": str(folder / "part-*.csv"), "data_dir": "d"}


@hostile("is no file")
def pipe_as_table(folder):
    os.mkfifo(folder / "clips.csv")
    return {**WEBVID, "table": str(folder / "clips.csv"), "data_dir": "d"}


@hostile("part-1.csv is empty")
def second_table_empty(folder):
    (folder / "part-1.csv").touch()
    return {**table(folder, HEADER + GOOD, "part-0.csv"), "table": str(folder / "part-*.csv")}


@hostile("damaged gzip")
def truncated_gzip(folder):
    rows = b"".join(b"%d,u,PT00H00M18S,p,A dog\n" % i for i in range(20_000))
    return table(folder, gzip.compress(HEADER + rows)[:-5000], "clips.csv.gz")


@hostile("damaged gzip")
def garbage_in_gzip(folder):
    return table(folder, b"\x1f\x8b" + b"no gzip at all" * 20, "clips.csv.gz")
