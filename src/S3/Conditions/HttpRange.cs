using System.Globalization;
using ObjectStore.S3.Errors;

namespace ObjectStore.S3.Conditions;

/// <summary>What a Range header means for an object of known size.</summary>
public enum RangeOutcome
{
    /// <summary>Send the whole object with 200: there is no range, or one that S3 ignores.</summary>
    Whole,

    /// <summary>Send the bytes with 206.</summary>
    Partial,

    /// <summary>Answer 416 InvalidRange.</summary>
    Unsatisfiable,
}

/// <summary>A range of bytes within an object; never empty.</summary>
/// <param name="Offset">The first byte.</param>
/// <param name="Length">The number of bytes, at least 1.</param>
public readonly record struct HttpRange(long Offset, long Length)
{
    /// <summary>The Content-Range of a 206.</summary>
    public string ToContentRange(long sizeBytes) => string.Create(CultureInfo.InvariantCulture, $"bytes {Offset}-{Offset + Length - 1}/{sizeBytes}");

    /// <summary>
    /// Resolves a Range header of GET or HEAD against an object's size: <c>bytes=a-b</c>, <c>a-</c> or <c>-n</c>. Several ranges, another unit and
    /// malformed ranges are ignored, as S3 does. A range of an empty object is unsatisfiable.
    /// </summary>
    /// <param name="headerValue">The header, or null.</param>
    /// <param name="sizeBytes">The object's size.</param>
    /// <param name="range">The range, clipped to the object, for <see cref="RangeOutcome.Partial"/>.</param>
    public static RangeOutcome Resolve(string? headerValue, long sizeBytes, out HttpRange range)
    {
        range = default;
        if (!TryParse(headerValue, out long? first, out long? last)) return RangeOutcome.Whole;
        if (first is null)
        {
            long suffix = Math.Min(last!.Value, sizeBytes);
            if (suffix == 0) return RangeOutcome.Unsatisfiable;
            range = new HttpRange(sizeBytes - suffix, suffix);
            return RangeOutcome.Partial;
        }

        if (first.Value >= sizeBytes) return RangeOutcome.Unsatisfiable;
        long end = Math.Min(last ?? long.MaxValue, sizeBytes - 1);
        range = new HttpRange(first.Value, end - first.Value + 1);
        return RangeOutcome.Partial;
    }

    /// <summary>
    /// Resolves x-amz-copy-source-range, which S3 reads strictly: <c>bytes=a-b</c> within the source and nothing else.
    /// False with InvalidArgument, or InvalidRange where it reaches past the source's end.
    /// </summary>
    public static bool TryResolveCopySource(string headerValue, long sizeBytes, out HttpRange range, out S3Error? error)
    {
        range = default;
        error = null;
        if (!TryParse(headerValue, out long? first, out long? last) || first is null || last is null)
        {
            error = S3Error.InvalidArgument(
                "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy",
                "x-amz-copy-source-range", headerValue);
            return false;
        }

        if (last.Value >= sizeBytes)
        {
            error = S3Error.InvalidRange(headerValue, sizeBytes);
            return false;
        }

        range = new HttpRange(first.Value, last.Value - first.Value + 1);
        return true;
    }

    private static bool TryParse(string? headerValue, out long? first, out long? last)
    {
        first = null;
        last = null;
        ReadOnlySpan<char> text = headerValue.AsSpan().Trim();
        if (!text.StartsWith("bytes=", StringComparison.OrdinalIgnoreCase)) return false;
        text = text["bytes=".Length..].Trim();
        int dash = text.IndexOf('-');
        if (dash < 0 || !TryParseOffset(text[..dash], out first) || !TryParseOffset(text[(dash + 1)..], out last)) return false;
        if (first is null && last is null) return false;
        return first is null || last is null || first <= last;
    }

    // A number too large for a long is past the end of any object, which is all that matters about it.
    private static bool TryParseOffset(ReadOnlySpan<char> digits, out long? value)
    {
        digits = digits.Trim();
        value = null;
        if (digits.IsEmpty) return true;
        if (digits.ContainsAnyExceptInRange('0', '9')) return false;
        value = long.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out long parsed) ? parsed : long.MaxValue;
        return true;
    }
}
