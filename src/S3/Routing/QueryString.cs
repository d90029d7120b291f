using System.Globalization;
using ObjectStore.S3.Errors;

namespace ObjectStore.S3.Routing;

/// <summary>
/// The query of a request, kept as it was on the wire and decoded when a value is asked for. Names are compared after
/// decoding, by ordinal. <c>?uploads</c> and <c>?uploads=</c> are the same: the parameter is there and its value is empty.
/// Where a name occurs twice the first counts. Immutable.
/// </summary>
public readonly struct QueryString
{
    private readonly string? _raw;

    private QueryString(string raw) => _raw = raw;

    /// <summary>A query without parameters.</summary>
    public static QueryString Empty => default;

    /// <summary>The query as it was on the wire, without the leading '?'.</summary>
    public string Raw => _raw ?? "";

    /// <summary>True when there is nothing after the '?'.</summary>
    public bool IsEmpty => string.IsNullOrEmpty(_raw);

    /// <summary>
    /// Accepts a raw query with or without its leading '?'. False, with InvalidURI, where an escape is malformed or does not
    /// decode to UTF-8; after that no accessor can fail.
    /// </summary>
    public static bool TryParse(string? raw, out QueryString query, out S3Error? error)
    {
        error = null;
        if (string.IsNullOrEmpty(raw))
        {
            query = default;
            return true;
        }

        query = new QueryString(raw[0] == '?' ? raw[1..] : raw);
        if (!query.Raw.Contains('%') && System.Text.Ascii.IsValid(query.Raw)) return true;
        foreach (QueryParameter parameter in query)
        {
            if (PercentEncoding.TryDecodeToString(parameter.RawName, true, out _) && PercentEncoding.TryDecodeToString(parameter.RawValue, true, out _)) continue;
            error = new S3Error(S3ErrorCode.InvalidURI);
            query = default;
            return false;
        }

        return true;
    }

    /// <summary>True when the parameter is there, with or without a value.</summary>
    public bool Has(ReadOnlySpan<char> name) => TryFind(name, out _);

    /// <summary>The decoded value: empty for <c>?name</c>, null when the parameter is not there.</summary>
    public string? Get(ReadOnlySpan<char> name)
    {
        if (!TryFind(name, out ReadOnlySpan<char> rawValue)) return null;
        if (rawValue.IsEmpty) return "";
        PercentEncoding.TryDecodeToString(rawValue, true, out string value);
        return value;
    }

    /// <summary>
    /// Reads a whole number. An absent or empty parameter is <paramref name="defaultValue"/>. False, with InvalidArgument naming the
    /// parameter, where it is no number between <paramref name="minimum"/> and <paramref name="maximum"/>.
    /// </summary>
    public bool TryGetInt32(string name, int defaultValue, int minimum, int maximum, out int value, out S3Error? error)
    {
        error = null;
        value = defaultValue;
        string? text = Get(name);
        if (string.IsNullOrEmpty(text)) return true;
        if (!int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out value))
        {
            error = S3Error.InvalidArgument($"Provided {name} not an integer or within integer range", name, text);
            return false;
        }

        if (value >= minimum && value <= maximum) return true;
        error = S3Error.InvalidArgument($"Argument {name} must be an integer between {minimum} and {maximum}", name, text);
        return false;
    }

    /// <summary>Enumerates the parameters in wire order without allocating.</summary>
    public Enumerator GetEnumerator() => new(Raw);

    private bool TryFind(ReadOnlySpan<char> name, out ReadOnlySpan<char> rawValue)
    {
        foreach (QueryParameter parameter in this)
        {
            if (!parameter.NameIs(name)) continue;
            rawValue = parameter.RawValue;
            return true;
        }

        rawValue = default;
        return false;
    }

    /// <summary>One parameter, still percent-encoded.</summary>
    public readonly ref struct QueryParameter
    {
        internal QueryParameter(ReadOnlySpan<char> rawName, ReadOnlySpan<char> rawValue)
        {
            RawName = rawName;
            RawValue = rawValue;
        }

        /// <summary>The name as on the wire.</summary>
        public ReadOnlySpan<char> RawName { get; }

        /// <summary>The value as on the wire; empty when there was no '='.</summary>
        public ReadOnlySpan<char> RawValue { get; }

        /// <summary>True when the decoded name equals <paramref name="name"/>.</summary>
        public bool NameIs(ReadOnlySpan<char> name)
        {
            if (RawName.SequenceEqual(name)) return true;

            // Only a name that carries an escape can still be equal.
            if (!RawName.ContainsAny('%', '+')) return false;
            return PercentEncoding.TryDecodeToString(RawName, true, out string decoded) && name.SequenceEqual(decoded);
        }
    }

    /// <summary>Walks a raw query; empty segments between '&amp;' are skipped.</summary>
    public ref struct Enumerator
    {
        private ReadOnlySpan<char> _rest;

        internal Enumerator(ReadOnlySpan<char> raw)
        {
            _rest = raw;
            Current = default;
        }

        /// <summary>The parameter last found.</summary>
        public QueryParameter Current { get; private set; }

        /// <summary>Moves to the next parameter.</summary>
        public bool MoveNext()
        {
            while (!_rest.IsEmpty)
            {
                int end = _rest.IndexOf('&');
                ReadOnlySpan<char> segment = end < 0 ? _rest : _rest[..end];
                _rest = end < 0 ? default : _rest[(end + 1)..];
                if (segment.IsEmpty) continue;
                int equals = segment.IndexOf('=');
                Current = equals < 0 ? new QueryParameter(segment, default) : new QueryParameter(segment[..equals], segment[(equals + 1)..]);
                return true;
            }

            return false;
        }
    }
}
