-- Athena's functions that DuckDB lacks, or has with another meaning, as macros. DuckDB SQL.
-- A call `f(x)` in a query becomes `athena.f(x)`; where x is a date, an instant or a list, and there
-- is such a macro, `athena._f_date(x)`, `_f_instant` or `_f_list`. (DuckDB would choose among macros
-- of one name, but not for the type of an aggregate.) Those that begin with _ are called by others,
-- and by what is made of a query. What each gives, by Trino's documentation, is in the tests.

-- An error: a cast that fails. DuckDB's error() is volatile, which neither TRY nor the optimizer bears.
CREATE MACRO athena._fail(message) AS CAST('athena: ' || message AS INTEGER);
CREATE MACRO athena._fail_text(message) AS CAST(athena._fail(message) AS VARCHAR);

-- Texts. Positions count from 1 and code points; what is not there is null, not ''.
CREATE MACRO athena.split_part(s, d, n) AS
  CASE WHEN n < 1 THEN athena._fail_text('split_part: the index must be greater than zero')
    WHEN n <= len(string_split(s, d)) THEN string_split(s, d)[n] END;
CREATE MACRO athena.split(s, d) AS
  string_split(s, CASE WHEN d = '' THEN athena._fail_text('split: the delimiter may not be empty') ELSE d END);
CREATE MACRO athena.split_to_map(s, entries, pairs) AS
  map_from_entries(list_transform(string_split(s, entries),
    lambda each: (string_split(each, pairs)[1], string_split(each, pairs)[2])));
CREATE MACRO athena._text_from(s, n) AS
  CASE WHEN s IS NULL OR n IS NULL THEN NULL WHEN n = 0 OR -n > length(s) THEN ''
    WHEN n < 0 THEN substring(s, length(s) + n + 1) ELSE substring(s, n) END;
CREATE MACRO athena.substr
  (s, n) AS athena._text_from(s, n),
  (s, n, size) AS substring(athena._text_from(s, n), 1, CASE WHEN size < 0 THEN 0 ELSE size END);
CREATE MACRO athena._code_points(s) AS regexp_extract_all(s, '(?s).');
CREATE MACRO athena.reverse(s) AS array_to_string(list_reverse(athena._code_points(s)), '');
CREATE MACRO athena._reverse_list(list) AS list_reverse(list);
-- What Java takes for whitespace.
CREATE MACRO athena._whitespace() AS
  concat(chr(9), chr(10), chr(11), chr(12), chr(13), chr(28), chr(29), chr(30), chr(31), ' ',
    chr(5760), chr(8192), chr(8193), chr(8194), chr(8195), chr(8196), chr(8197), chr(8198),
    chr(8200), chr(8201), chr(8202), chr(8232), chr(8233), chr(8287), chr(12288));
CREATE MACRO athena.trim(s) AS trim(s, athena._whitespace()), (s, characters) AS trim(s, characters);
CREATE MACRO athena.ltrim(s) AS ltrim(s, athena._whitespace()), (s, characters) AS ltrim(s, characters);
CREATE MACRO athena.rtrim(s) AS rtrim(s, athena._whitespace()), (s, characters) AS rtrim(s, characters);
CREATE MACRO athena.replace
  (s, old) AS replace(s, old, ''),
  (s, old, new) AS CASE WHEN old = ''
    THEN new || array_to_string(list_transform(athena._code_points(s), lambda c: c || new), '')
    ELSE replace(s, old, new) END;
CREATE MACRO athena.strpos(s, part) AS strpos(s, part);
CREATE MACRO athena.codepoint(s) AS
  CASE WHEN length(s) = 1 THEN unicode(s) WHEN s IS NOT NULL THEN athena._fail('codepoint: one letter is expected') END;
CREATE MACRO athena.lpad(s, n, pad) AS lpad(s, CAST(n AS INTEGER), pad);
CREATE MACRO athena.rpad(s, n, pad) AS rpad(s, CAST(n AS INTEGER), pad);
CREATE MACRO athena.levenshtein_distance(a, b) AS levenshtein(a, b);
CREATE MACRO athena.hamming_distance(a, b) AS hamming(a, b);

-- Patterns.
CREATE MACRO athena.regexp_like(s, pattern) AS regexp_matches(s, pattern);
CREATE MACRO athena._regexp_extract
  (s, pattern) AS CASE WHEN regexp_matches(s, pattern) THEN regexp_extract(s, pattern) END,
  (s, pattern, nth) AS CASE WHEN regexp_matches(s, pattern) THEN regexp_extract(s, pattern, nth) END;
CREATE MACRO athena.regexp_extract_all
  (s, pattern) AS regexp_extract_all(s, pattern),
  (s, pattern, nth) AS regexp_extract_all(s, pattern, nth);
CREATE MACRO athena.regexp_count(s, pattern) AS len(regexp_extract_all(s, pattern));
CREATE MACRO athena.regexp_split(s, pattern) AS regexp_split_to_array(s, pattern);

-- Addresses. What is no address, as it has letters that none may have, is null.
CREATE MACRO athena._url_part(url, pattern) AS
  CASE WHEN NOT regexp_matches(url, '[\x00-\x20<>"{}|\\^`]|%[^0-9A-Fa-f]|%.[^0-9A-Fa-f]|%.?$')
    AND regexp_matches(url, pattern) THEN regexp_extract(url, pattern, 1) END;
CREATE MACRO athena.url_extract_protocol(url) AS athena._url_part(url, '^([A-Za-z][A-Za-z0-9+.-]*):');
CREATE MACRO athena.url_extract_host(url) AS
  athena._url_part(url, '^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?([^/?#:@]+)');
CREATE MACRO athena.url_extract_port(url) AS
  CAST(athena._url_part(url, '^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?[^/?#:@]+:([0-9]+)') AS BIGINT);
CREATE MACRO athena.url_extract_path(url) AS
  url_decode(athena._url_part(url, '^(?:[A-Za-z][A-Za-z0-9+.-]*:)?(?://[^/?#]*)?([^?#]*)'));
CREATE MACRO athena.url_extract_query(url) AS url_decode(athena._url_part(url, '^[^?#]*\?([^#]*)'));
CREATE MACRO athena.url_extract_fragment(url) AS url_decode(athena._url_part(url, '#(.*)$'));
CREATE MACRO athena.url_decode(s) AS url_decode(replace(s, '+', ' '));
CREATE MACRO athena.url_encode(s) AS
  replace(replace(replace(url_encode(s), '%20', '+'), '%2A', '*'), '~', '%7E');
CREATE MACRO athena.url_extract_parameter(url, name) AS
  athena.url_decode(list_extract(list_transform(list_filter(
    string_split(athena._url_part(url, '^[^?#]*\?([^#]*)'), '&'),
    lambda each: athena.url_decode(string_split(each, '=')[1]) = name),
    lambda each: substring(each, length(string_split(each, '=')[1]) + 2)), 1));

-- Numbers.
CREATE MACRO athena._bucket_upwards(x, low, high, n) AS
  CAST(CASE WHEN x < low THEN 0 WHEN x >= high THEN n + 1
    ELSE floor(n * (CAST(x AS DOUBLE) - low) / (CAST(high AS DOUBLE) - low)) + 1 END AS BIGINT);
CREATE MACRO athena.width_bucket
  (x, low, high, n) AS CASE WHEN n <= 0 THEN athena._fail('width_bucket: the number of buckets must be greater than zero')
    WHEN low = high THEN athena._fail('width_bucket: the bounds cannot be equal')
    WHEN low < high THEN athena._bucket_upwards(x, low, high, n)
    ELSE n - athena._bucket_upwards(x, high, low, n) + 1 END,
  (x, bounds) AS CASE WHEN x IS NOT NULL THEN len(list_filter(bounds, lambda each: each <= x)) END;
CREATE MACRO athena.sqrt(x) AS CASE WHEN x < 0 THEN CAST('NaN' AS DOUBLE) ELSE sqrt(x) END;
CREATE MACRO athena.ln(x) AS
  CASE WHEN x < 0 THEN CAST('NaN' AS DOUBLE) WHEN x = 0 THEN CAST('-Infinity' AS DOUBLE) ELSE ln(x) END;
CREATE MACRO athena.log2(x) AS athena.ln(x) / ln(2);
CREATE MACRO athena.log10(x) AS
  CASE WHEN x < 0 THEN CAST('NaN' AS DOUBLE) WHEN x = 0 THEN CAST('-Infinity' AS DOUBLE) ELSE log10(x) END;
CREATE MACRO athena.log(base, x) AS athena.ln(x) / athena.ln(base);
CREATE MACRO athena.e() AS exp(1.0);
CREATE MACRO athena.infinity() AS CAST('Infinity' AS DOUBLE);
CREATE MACRO athena.is_nan(x) AS isnan(CAST(x AS DOUBLE));
CREATE MACRO athena.is_finite(x) AS isfinite(CAST(x AS DOUBLE));
CREATE MACRO athena.is_infinite(x) AS isinf(CAST(x AS DOUBLE));
CREATE MACRO athena.mod(a, b) AS a % b;
CREATE MACRO athena.bitwise_and(a, b) AS CAST(a AS BIGINT) & CAST(b AS BIGINT);
CREATE MACRO athena.bitwise_or(a, b) AS CAST(a AS BIGINT) | CAST(b AS BIGINT);
CREATE MACRO athena.bitwise_xor(a, b) AS xor(CAST(a AS BIGINT), CAST(b AS BIGINT));
CREATE MACRO athena.bitwise_not(a) AS ~CAST(a AS BIGINT);
-- Of whole numbers, to the nearest, halves away from zero.
CREATE MACRO athena._divided(a, b) AS
  sign(a) * sign(b) * ((2 * abs(a) + abs(b)) // (2 * abs(b)));

-- Times. Trino's are without a zone, or in one; the session's is UTC.
CREATE MACRO athena._instant(x) AS x AT TIME ZONE 'UTC';
CREATE MACRO athena._instant_date(x) AS CAST(x AS TIMESTAMP) AT TIME ZONE 'UTC';
CREATE MACRO athena._instant_instant(x) AS x;
CREATE MACRO athena._date_error(unit) AS CAST(athena._fail_text(unit || ' is not a unit of dates') AS DATE);
CREATE MACRO athena._truncated(unit, x) AS date_trunc(unit, x);
CREATE MACRO athena._truncated_date(unit, x) AS CAST(date_trunc(unit, x) AS DATE);
CREATE MACRO athena._truncated_time(unit, x) AS date_trunc(unit, x);
CREATE MACRO athena._truncated_time_date(unit, x) AS athena._date_error(unit);
CREATE MACRO athena._moved(unit, x, step) AS x + step;
CREATE MACRO athena._moved_date(unit, x, step) AS CAST(x + step AS DATE);
CREATE MACRO athena._moved_time(unit, x, step) AS x + step;
CREATE MACRO athena._moved_time_date(unit, x, step) AS athena._date_error(unit);
-- Whole units that have elapsed, where DuckDB's date_diff counts the boundaries that were crossed.
CREATE MACRO athena._elapsed(unit, a, b) AS date_sub(unit, a, b);
CREATE MACRO athena._elapsed_time(unit, a, b) AS date_sub(unit, a, b);
CREATE MACRO athena._elapsed_time_date(unit, a, b) AS
  date_sub('day', athena._date_error(unit), CAST(b AS DATE));
CREATE MACRO athena.day_of_month(x) AS day(x);
CREATE MACRO athena.day_of_week(x) AS isodow(x);
CREATE MACRO athena.dow(x) AS isodow(x);
CREATE MACRO athena.day_of_year(x) AS dayofyear(x);
CREATE MACRO athena.doy(x) AS dayofyear(x);
CREATE MACRO athena.week_of_year(x) AS week(x);
CREATE MACRO athena.year_of_week(x) AS isoyear(x);
CREATE MACRO athena.yow(x) AS isoyear(x);
CREATE MACRO athena.millisecond(x) AS millisecond(x) % 1000;
CREATE MACRO athena.last_day_of_month(x) AS last_day(x);
CREATE MACRO athena.current_timezone() AS 'UTC';
CREATE MACRO athena.now() AS date_trunc('millisecond', get_current_timestamp());
CREATE MACRO athena._from_unixtime(x) AS to_timestamp(round(CAST(x AS DOUBLE) * 1000) / 1000);
CREATE MACRO athena.to_unixtime(x) AS epoch(x);
CREATE MACRO athena.to_milliseconds(x) AS CAST(epoch(x) * 1000 AS BIGINT);
-- To the millisecond, as Athena has them; a time that is finer keeps its microseconds.
CREATE MACRO athena._time_text(x) AS
  CASE WHEN epoch_us(x) % 1000 = 0 THEN strftime(x, '%Y-%m-%d %H:%M:%S.%g')
    ELSE strftime(x, '%Y-%m-%d %H:%M:%S.%f') END;
CREATE MACRO athena.to_iso8601(x) AS replace(athena._time_text(x), ' ', 'T');
CREATE MACRO athena._to_iso8601_date(x) AS CAST(x AS VARCHAR);
CREATE MACRO athena._to_iso8601_instant(x) AS
  replace(athena._time_text(x AT TIME ZONE 'UTC'), ' ', 'T') || 'Z';
CREATE MACRO athena.from_iso8601_timestamp(s) AS
  CASE WHEN regexp_matches(s, '^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:.,]+(Z|[+-][0-9:]+)?)?$')
    THEN CAST(replace(replace(s, 'T', ' '), ',', '.') AS TIMESTAMP WITH TIME ZONE)
    WHEN s IS NOT NULL THEN CAST(athena._fail_text('from_iso8601_timestamp: invalid format: ' || s) AS TIMESTAMP WITH TIME ZONE) END;
CREATE MACRO athena.from_iso8601_date(s) AS
  CASE WHEN regexp_matches(s, '^[0-9]{4}-[0-9]{2}-[0-9]{2}$') THEN CAST(s AS DATE)
    WHEN s IS NOT NULL THEN CAST(athena._fail_text('from_iso8601_date: invalid format: ' || s) AS DATE) END;
CREATE MACRO athena._offset_text(minutes) AS
  CASE WHEN minutes = 0 THEN 'Z' ELSE (CASE WHEN minutes < 0 THEN '-' ELSE '+' END)
    || lpad(CAST(abs(minutes) // 60 AS VARCHAR), 2, '0') || ':'
    || lpad(CAST(abs(minutes) % 60 AS VARCHAR), 2, '0') END;
-- How far a zone's clock is ahead of UTC at an instant, as +01:00.
CREATE MACRO athena._offset_of(x, zone) AS
  athena._offset_text(date_diff('minute', x AT TIME ZONE 'UTC', x AT TIME ZONE zone));
CREATE MACRO athena._whole_milliseconds(x) AS
  make_timestamp(epoch_us(x) + 500 - ((epoch_us(x) + 500) % 1000 + 1000) % 1000);
CREATE MACRO athena._whole_seconds(x) AS
  make_timestamp(epoch_us(x) + 500000 - ((epoch_us(x) + 500000) % 1000000 + 1000000) % 1000000);

-- Casts of texts, which DuckDB takes in more spellings than Trino, and to texts.
CREATE MACRO athena._cast_error(s, kind) AS athena._fail_text('Cannot cast ''' || s || ''' to ' || kind);
CREATE MACRO athena._integer_of(s) AS
  CASE WHEN regexp_matches(s, '^[+-]?[0-9]+$') THEN s WHEN s IS NOT NULL THEN athena._cast_error(s, 'a whole number') END;
CREATE MACRO athena._number_of(s) AS
  CASE WHEN regexp_matches(s, '^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$|^[+-]?Infinity$|^NaN$')
    THEN trim(s) WHEN s IS NOT NULL THEN athena._cast_error(s, 'a number') END;
CREATE MACRO athena._boolean_of(s) AS
  CASE WHEN lower(s) IN ('t', 'true', '1') THEN true WHEN lower(s) IN ('f', 'false', '0') THEN false
    WHEN s IS NOT NULL THEN CAST(athena._cast_error(s, 'boolean') AS BOOLEAN) END;
CREATE MACRO athena._date_of(s) AS
  CASE WHEN regexp_matches(s, '^\s*[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}\s*$') THEN CAST(trim(s) AS DATE)
    WHEN s IS NOT NULL THEN CAST(athena._cast_error(s, 'date') AS DATE) END;
CREATE MACRO athena._timestamp_of(s) AS
  CASE WHEN regexp_matches(s, '^\s*[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}( [0-9]{1,2}:[0-9]{1,2}(:[0-9]{1,2}(\.[0-9]{1,12})?)?)?\s*$')
    THEN CAST(trim(s) AS TIMESTAMP) WHEN s IS NOT NULL THEN CAST(athena._cast_error(s, 'timestamp') AS TIMESTAMP) END;
CREATE MACRO athena._of_digits(digits, exponent) AS
  digits[1] || '.' || coalesce(nullif(rtrim(digits[2:], '0'), ''), '0') || 'E' || exponent;
CREATE MACRO athena._with_exponent(whole, fraction, shift) AS
  CASE WHEN whole = '0'
    THEN athena._of_digits(ltrim(fraction, '0'), shift - 1 - length(fraction) + length(ltrim(fraction, '0')))
    ELSE athena._of_digits(whole || fraction, shift + length(whole) - 1) END;
CREATE MACRO athena._scientific(parts) AS
  athena._with_exponent(string_split(parts[1], '.')[1], coalesce(string_split(parts[1], '.')[2], ''),
    coalesce(CAST(parts[2] AS INTEGER), 0));
CREATE MACRO athena._double_text(x) AS
  CASE WHEN isnan(x) THEN 'NaN' WHEN isinf(x) THEN CASE WHEN x > 0 THEN 'Infinity' ELSE '-Infinity' END
    WHEN x = 0 THEN CASE WHEN CAST(x AS VARCHAR) LIKE '-%' THEN '-0.0E0' ELSE '0.0E0' END
    ELSE CASE WHEN x < 0 THEN '-' ELSE '' END
      || athena._scientific(string_split(CAST(abs(x) AS VARCHAR), 'e')) END;

CREATE MACRO athena._fits(s, n) AS
  CASE WHEN length(s) <= n THEN s WHEN s IS NOT NULL THEN athena._cast_error(s, 'so short a text') END;
CREATE MACRO athena._json_text(j) AS
  CASE WHEN json_type(j) IN ('OBJECT', 'ARRAY') THEN athena._cast_error(CAST(j AS VARCHAR), 'varchar')
    ELSE json_extract_string(j, '$') END;

-- JSON. A text that is no JSON, a path that is not there, and null are null.
CREATE MACRO athena._json_extract(j, path) AS
  CASE WHEN json_valid(CAST(j AS VARCHAR)) AND json_exists(CAST(j AS VARCHAR), path)
    THEN json_extract(CAST(j AS VARCHAR), path) END;
CREATE MACRO athena._json_extract_scalar(j, path) AS
  CASE WHEN json_valid(CAST(j AS VARCHAR)) AND json_type(CAST(j AS VARCHAR), path) NOT IN ('OBJECT', 'ARRAY')
    THEN json_extract_string(CAST(j AS VARCHAR), path) END;
CREATE MACRO athena.json_parse(s) AS CAST(s AS JSON);
CREATE MACRO athena.json_format(j) AS CAST(json(j) AS VARCHAR);
CREATE MACRO athena.json_array_length(j) AS
  CASE WHEN json_valid(CAST(j AS VARCHAR)) AND json_type(CAST(j AS VARCHAR)) = 'ARRAY'
    THEN CAST(json_array_length(CAST(j AS VARCHAR)) AS BIGINT) END;
CREATE MACRO athena._json_size(j, path) AS
  CASE WHEN NOT json_valid(CAST(j AS VARCHAR)) THEN NULL
    WHEN json_type(CAST(j AS VARCHAR), path) = 'ARRAY' THEN CAST(json_array_length(CAST(j AS VARCHAR), path) AS BIGINT)
    WHEN json_type(CAST(j AS VARCHAR), path) = 'OBJECT' THEN CAST(len(json_keys(CAST(j AS VARCHAR), path)) AS BIGINT)
    WHEN json_type(CAST(j AS VARCHAR), path) IS NOT NULL THEN 0 END;
CREATE MACRO athena.is_json_scalar(j) AS json_type(CAST(j AS VARCHAR)) NOT IN ('OBJECT', 'ARRAY');

-- Arrays and maps. Nulls are elements like others.
CREATE MACRO athena._has_null(a) AS len(a) > len(list_filter(a, lambda each: each IS NOT NULL));
CREATE MACRO athena.contains(a, x) AS
  CASE WHEN a IS NULL OR x IS NULL THEN NULL WHEN list_contains(a, x) THEN true
    WHEN athena._has_null(a) THEN NULL ELSE false END;
CREATE MACRO athena.array_distinct(a) AS
  list_filter(a, lambda each, n: len(list_filter(a[1:n - 1], lambda other: other IS NOT DISTINCT FROM each)) = 0);
CREATE MACRO athena.array_sort(a) AS list_sort(a, 'ASC', 'NULLS LAST');
CREATE MACRO athena.array_max(a) AS CASE WHEN NOT athena._has_null(a) THEN list_max(a) END;
CREATE MACRO athena.array_min(a) AS CASE WHEN NOT athena._has_null(a) THEN list_min(a) END;
CREATE MACRO athena.array_position(a, x) AS
  CASE WHEN a IS NULL OR x IS NULL THEN NULL ELSE coalesce(CAST(list_position(a, x) AS BIGINT), 0) END;
CREATE MACRO athena.array_remove(a, x) AS list_filter(a, lambda each: each IS DISTINCT FROM x);
CREATE MACRO athena.slice(a, first, size) AS
  CASE WHEN first = 0 THEN a[1:athena._fail('slice: array indices start at 1')]
    WHEN size < 0 THEN a[1:athena._fail('slice: the length must not be negative')]
    WHEN size = 0 OR -first > len(a) THEN a[1:0]
    WHEN first < 0 THEN a[len(a) + first + 1:len(a) + first + size] ELSE a[first:first + size - 1] END;
CREATE MACRO athena.repeat(x, n) AS list_resize(list_value(x)[1:0], n, x);
CREATE MACRO athena._subscript(a, n) AS
  CASE WHEN n = 0 THEN a[athena._fail('array indices start at 1')]
    WHEN n < 0 THEN a[athena._fail('an array subscript is negative')]
    WHEN n > len(a) THEN a[athena._fail('an array subscript is greater than the array''s length')] ELSE a[n] END;
CREATE MACRO athena._array_element(a, n) AS
  CASE WHEN n = 0 THEN a[athena._fail('array indices start at 1')] ELSE a[n] END;
CREATE MACRO athena._map_value(m, k) AS
  CASE WHEN m IS NULL OR k IS NULL OR map_contains(m, k) THEN m[k] ELSE map_values(m)[athena._fail('the key is not in the map')] END;
CREATE MACRO athena._any_of(a) AS
  CASE WHEN list_contains(a, true) THEN true WHEN athena._has_null(a) THEN NULL WHEN a IS NOT NULL THEN false END;
CREATE MACRO athena._all_of(a) AS
  CASE WHEN list_contains(a, false) THEN false WHEN athena._has_null(a) THEN NULL WHEN a IS NOT NULL THEN true END;
CREATE MACRO athena.sequence
  (a, b) AS generate_series(a, b, CASE WHEN a <= b THEN 1 ELSE -1 END),
  (a, b, step) AS generate_series(a, b, step);
CREATE MACRO athena._sequence_date
  (a, b) AS CAST(generate_series(CAST(a AS TIMESTAMP), CAST(b AS TIMESTAMP),
    to_days(CASE WHEN a <= b THEN 1 ELSE -1 END)) AS DATE[]),
  (a, b, step) AS CAST(generate_series(CAST(a AS TIMESTAMP), CAST(b AS TIMESTAMP), step) AS DATE[]);
-- Of a key that comes more than once, one value; Trino says not which.
CREATE MACRO athena._map_of(entries) AS
  CASE WHEN entries IS NOT NULL THEN map_from_entries(list_filter(entries,
    lambda each, n: list_position(list_transform(entries, lambda other: other[1]), each[1]) = n)) END;
CREATE MACRO athena._multimap_of(entries) AS
  CASE WHEN entries IS NOT NULL THEN map(
    list_distinct(list_transform(entries, lambda each: each[1])),
    list_transform(list_distinct(list_transform(entries, lambda each: each[1])), lambda key:
      list_transform(list_filter(entries, lambda each: each[1] = key), lambda each: each[2]))) END;
CREATE MACRO athena._map_get(m, k) AS m[k];
CREATE MACRO athena._texts(a, instead) AS
  list_transform(a, lambda each: coalesce(CAST(each AS VARCHAR), instead));
CREATE MACRO athena._second_text(x) AS strftime(x, '%Y-%m-%d %H:%M:%S');
