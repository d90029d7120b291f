using System.Globalization;
using ObjectStore.S3.Errors;

namespace ObjectStore.S3.Conditions;

/// <summary>What the conditions of a request decide.</summary>
public enum ConditionOutcome
{
    /// <summary>Carry on.</summary>
    Proceed,

    /// <summary>Answer 304 without a body (GET and HEAD only).</summary>
    NotModified,

    /// <summary>Answer 412 PreconditionFailed.</summary>
    PreconditionFailed,

    /// <summary>Answer 404 NoSuchKey: a conditional write wants to replace an object that is not there.</summary>
    NoSuchKey,
}

/// <summary>An outcome and, where it is not <see cref="ConditionOutcome.Proceed"/>, the header that decided.</summary>
/// <param name="Outcome">The decision.</param>
/// <param name="Header">The name of the deciding header, for the Condition element of the error.</param>
public readonly record struct ConditionResult(ConditionOutcome Outcome, string? Header = null)
{
    /// <summary>True when the request may carry on.</summary>
    public bool Proceeds => Outcome == ConditionOutcome.Proceed;

    /// <summary>The error of the outcome; null for <see cref="ConditionOutcome.Proceed"/>.</summary>
    public S3Error? ToError(string key) => Outcome switch
    {
        ConditionOutcome.Proceed => null,
        ConditionOutcome.NotModified => new S3Error(S3ErrorCode.NotModified),
        ConditionOutcome.NoSuchKey => S3Error.NoSuchKey(key),
        _ => S3Error.PreconditionFailed(Header!),
    };
}

/// <summary>
/// The conditional headers of a request and the rules that apply them. Pure. Entity tags are compared by their opaque text, weak prefix and quotes
/// aside: S3 never issues a weak tag, and clients often send one unquoted. A date that cannot be read is no condition (RFC 9110 §13.1.3).
/// </summary>
/// <param name="IfMatch">If-Match, or null.</param>
/// <param name="IfNoneMatch">If-None-Match, or null.</param>
/// <param name="IfModifiedSince">If-Modified-Since, or null.</param>
/// <param name="IfUnmodifiedSince">If-Unmodified-Since, or null.</param>
public readonly record struct RequestConditions(string? IfMatch, string? IfNoneMatch, string? IfModifiedSince, string? IfUnmodifiedSince)
{
    /// <summary>True when the request carries no condition.</summary>
    public bool IsEmpty => IfMatch is null && IfNoneMatch is null && IfModifiedSince is null && IfUnmodifiedSince is null;

    /// <summary>
    /// Applies the conditions of GET or HEAD to an object that exists, in the order of RFC 9110 §13.2.2: If-Match before If-Unmodified-Since,
    /// which counts only without it; then If-None-Match before If-Modified-Since, likewise.
    /// </summary>
    /// <param name="etag">The object's entity tag without quotes.</param>
    /// <param name="lastModified">The object's time; compared by whole seconds, which is all a header can say.</param>
    /// <param name="now">The current time: an If-Modified-Since in the future is no condition.</param>
    public ConditionResult EvaluateRead(ReadOnlySpan<char> etag, DateTimeOffset lastModified, DateTimeOffset now)
    {
        long modifiedSeconds = lastModified.ToUnixTimeSeconds();
        if (IfMatch is not null)
        {
            if (!EntityTags.Matches(IfMatch, etag)) return new ConditionResult(ConditionOutcome.PreconditionFailed, "If-Match");
        }
        else if (TryParseDate(IfUnmodifiedSince, out long unmodifiedSince) && modifiedSeconds > unmodifiedSince)
        {
            return new ConditionResult(ConditionOutcome.PreconditionFailed, "If-Unmodified-Since");
        }

        if (IfNoneMatch is not null)
        {
            if (EntityTags.Matches(IfNoneMatch, etag)) return new ConditionResult(ConditionOutcome.NotModified, "If-None-Match");
        }
        else if (TryParseDate(IfModifiedSince, out long modifiedSince) && modifiedSeconds <= modifiedSince && modifiedSince <= now.ToUnixTimeSeconds())
        {
            return new ConditionResult(ConditionOutcome.NotModified, "If-Modified-Since");
        }

        return default;
    }

    /// <summary>
    /// Applies x-amz-copy-source-if-* to the source of a copy. The same order as a read, but every failure is 412: a copy has no 304.
    /// </summary>
    public ConditionResult EvaluateCopySource(ReadOnlySpan<char> etag, DateTimeOffset lastModified, DateTimeOffset now)
    {
        ConditionResult result = EvaluateRead(etag, lastModified, now);
        return result.Proceeds ? result : new ConditionResult(ConditionOutcome.PreconditionFailed, "x-amz-copy-source-" + result.Header);
    }

    /// <summary>
    /// Applies the conditions of PutObject, CompleteMultipartUpload, CopyObject or DeleteObject to the current version of the key. The answer holds only
    /// for the version it was given: the commit must compare again, or be ordered with the write.
    /// </summary>
    /// <param name="etag">The current version's entity tag without quotes; null when there is none or it is a delete marker.</param>
    public ConditionResult EvaluateWrite(string? etag)
    {
        if (IfMatch is not null)
        {
            if (etag is null) return new ConditionResult(ConditionOutcome.NoSuchKey, "If-Match");
            if (!EntityTags.Matches(IfMatch, etag)) return new ConditionResult(ConditionOutcome.PreconditionFailed, "If-Match");
        }

        if (IfNoneMatch is not null && etag is not null && EntityTags.Matches(IfNoneMatch, etag))
        {
            return new ConditionResult(ConditionOutcome.PreconditionFailed, "If-None-Match");
        }

        return default;
    }

    /// <summary>
    /// Refuses the conditions that S3 does not take on a write: If-None-Match other than "*", If-None-Match together with If-Match, and dates.
    /// Null when they are acceptable.
    /// </summary>
    public S3Error? ValidateWrite()
    {
        if (IfNoneMatch is not null && IfNoneMatch.Trim() != "*") return Refuse("If-None-Match");
        if (IfNoneMatch is not null && IfMatch is not null) return Refuse("If-Match");
        if (IfModifiedSince is not null) return Refuse("If-Modified-Since");
        return IfUnmodifiedSince is not null ? Refuse("If-Unmodified-Since") : null;

        static S3Error Refuse(string header) => new S3Error(S3ErrorCode.NotImplemented)
            .WithDetail("Header", header)
            .WithDetail("additionalMessage", "We don't accept the provided value of " + header + " header for this API");
    }

    /// <summary>Reads an HTTP date in any of the three forms of RFC 9110 §5.6.7, or ISO 8601, as S3 does.</summary>
    public static bool TryParseDate(string? text, out long unixSeconds)
    {
        unixSeconds = 0;
        if (string.IsNullOrEmpty(text)) return false;
        const DateTimeStyles Styles = DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal | DateTimeStyles.AllowWhiteSpaces;
        if (!DateTimeOffset.TryParseExact(text, DateFormats, CultureInfo.InvariantCulture, Styles, out DateTimeOffset parsed)) return false;
        unixSeconds = parsed.ToUnixTimeSeconds();
        return true;
    }

    private static readonly string[] DateFormats =
    [
        "ddd, dd MMM yyyy HH:mm:ss 'GMT'", "ddd, d MMM yyyy HH:mm:ss 'GMT'", "dddd, dd-MMM-yy HH:mm:ss 'GMT'", "ddd MMM d HH:mm:ss yyyy",
        "ddd, dd MMM yyyy HH:mm:ss 'UTC'", "ddd, dd MMM yyyy HH:mm:ss zzz", "yyyy-MM-dd'T'HH:mm:ss'Z'", "yyyy-MM-dd'T'HH:mm:ss.FFFFFFF'Z'",
    ];
}
