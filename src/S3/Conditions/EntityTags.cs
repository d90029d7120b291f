namespace ObjectStore.S3.Conditions;

/// <summary>Compares entity tags as conditional headers list them.</summary>
public static class EntityTags
{
    /// <summary>
    /// True when <paramref name="headerValue"/> is "*" or lists <paramref name="etag"/>. Tags may be weak, quoted or bare.
    /// </summary>
    /// <param name="headerValue">The value of If-Match or If-None-Match.</param>
    /// <param name="etag">The entity tag of something that exists, without quotes.</param>
    public static bool Matches(ReadOnlySpan<char> headerValue, ReadOnlySpan<char> etag)
    {
        ReadOnlySpan<char> rest = headerValue.Trim();
        if (rest is "*") return true;
        while (!rest.IsEmpty)
        {
            rest = rest.TrimStart(" \t,");
            if (rest.StartsWith("W/", StringComparison.Ordinal)) rest = rest[2..];
            int end;
            ReadOnlySpan<char> tag;
            if (!rest.IsEmpty && rest[0] == '"')
            {
                // A comma within quotes belongs to the tag.
                int close = rest[1..].IndexOf('"');
                tag = close < 0 ? rest[1..] : rest.Slice(1, close);
                end = close < 0 ? rest.Length : close + 2;
            }
            else
            {
                end = rest.IndexOf(',');
                if (end < 0) end = rest.Length;
                tag = rest[..end].Trim();
            }

            if (!tag.IsEmpty && tag.SequenceEqual(etag)) return true;
            rest = rest[end..];
        }

        return false;
    }
}
