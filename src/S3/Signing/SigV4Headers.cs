namespace ObjectStore.S3.Signing;

/// <summary>The headers of a request as the verifier needs them. The gateway puts this over its server's header collection.</summary>
public interface ISigV4Headers
{
    /// <summary>
    /// The <paramref name="index"/>th value of a header, in wire order; null when there are not so many. The host header's value is
    /// the Host header or :authority exactly as the client sent it.
    /// </summary>
    string? GetValue(string lowercaseName, int index);

    /// <summary>
    /// Writes the names (any case) of the headers that begin with "x-amz-". Returns how many there are; where that is more than
    /// <paramref name="names"/> holds, the request is refused.
    /// </summary>
    int CopyAmzHeaderNames(Span<string> names);
}

/// <summary>A plain list of headers, for clients and tests. Names are compared without regard to case. Not thread-safe.</summary>
public sealed class SigV4HeaderList : ISigV4Headers
{
    private readonly List<KeyValuePair<string, string>> _headers = [];

    /// <summary>The headers in the order of addition.</summary>
    public IReadOnlyList<KeyValuePair<string, string>> Entries => _headers;

    /// <summary>The first value of a header, or null. Setting replaces every value; setting null removes the header.</summary>
    public string? this[string name]
    {
        get => GetValue(name, 0);
        set
        {
            _headers.RemoveAll(header => header.Key.Equals(name, StringComparison.OrdinalIgnoreCase));
            if (value is not null) Add(name, value);
        }
    }

    /// <summary>Adds a value, keeping those that are there.</summary>
    public void Add(string name, string value) => _headers.Add(new KeyValuePair<string, string>(name, value));

    /// <inheritdoc/>
    public string? GetValue(string lowercaseName, int index)
    {
        foreach (KeyValuePair<string, string> header in _headers)
        {
            if (header.Key.Equals(lowercaseName, StringComparison.OrdinalIgnoreCase) && index-- == 0) return header.Value;
        }

        return null;
    }

    /// <inheritdoc/>
    public int CopyAmzHeaderNames(Span<string> names)
    {
        int count = 0;
        foreach (KeyValuePair<string, string> header in _headers)
        {
            if (!header.Key.StartsWith("x-amz-", StringComparison.OrdinalIgnoreCase)) continue;
            if (count < names.Length) names[count] = header.Key;
            count++;
        }

        return count;
    }
}
