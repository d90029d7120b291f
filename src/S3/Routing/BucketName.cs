using System.Buffers;

namespace ObjectStore.S3.Routing;

/// <summary>
/// The naming rules of general purpose buckets. Source: "General purpose bucket naming rules", Amazon S3 User Guide.
/// </summary>
public static class BucketName
{
    private static readonly SearchValues<char> Allowed = SearchValues.Create("abcdefghijklmnopqrstuvwxyz0123456789.-");

    private static readonly string[] ReservedPrefixes = ["xn--", "sthree-", "amzn-s3-demo-"];

    private static readonly string[] ReservedSuffixes = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];

    /// <summary>
    /// True when a bucket of this name may be created: 3–63 of a–z, 0–9, '.' and '-', beginning and ending with a letter or
    /// digit, no "..", not written like an IPv4 address, and none of the prefixes and suffixes that S3 reserves.
    /// </summary>
    public static bool IsValid(ReadOnlySpan<char> name)
    {
        if (name.Length is < 3 or > 63 || name.ContainsAnyExcept(Allowed)) return false;
        if (!char.IsAsciiLetterOrDigit(name[0]) || !char.IsAsciiLetterOrDigit(name[^1])) return false;
        if (name.Contains("..", StringComparison.Ordinal) || LooksLikeIPv4(name)) return false;
        foreach (string prefix in ReservedPrefixes)
        {
            if (name.StartsWith(prefix, StringComparison.Ordinal)) return false;
        }

        foreach (string suffix in ReservedSuffixes)
        {
            if (name.EndsWith(suffix, StringComparison.Ordinal)) return false;
        }

        return true;
    }

    private static bool LooksLikeIPv4(ReadOnlySpan<char> name)
    {
        int groups = 0;
        foreach (Range range in name.Split('.'))
        {
            ReadOnlySpan<char> group = name[range];
            if (group.Length is 0 or > 3 || group.ContainsAnyExceptInRange('0', '9')) return false;
            groups++;
        }

        return groups == 4;
    }
}
