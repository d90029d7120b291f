using System.Globalization;

namespace ObjectStore.S3.Errors;

/// <summary>An element that some S3 errors carry beside the common four, for example <c>BucketName</c>.</summary>
public readonly record struct S3ErrorDetail(string Name, string Value);

/// <summary>
/// An S3 error answer. Everything in it is sent to the client, so it holds no internal text: the cause belongs in the log.
/// Immutable; the gateway adds <see cref="Resource"/> and <see cref="RequestId"/> with a <c>with</c> expression.
/// </summary>
/// <param name="Code">The catalogue entry, which decides the HTTP status.</param>
/// <param name="Message">The text of the <c>Message</c> element.</param>
public sealed record S3Error(S3ErrorCode Code, string Message)
{
    /// <summary>An error with the catalogue's message.</summary>
    public S3Error(S3ErrorCode code) : this(code, code.DefaultMessage) { }

    /// <summary>The path of the bucket or object that the request named; null leaves the element out.</summary>
    public string? Resource { get; init; }

    /// <summary>The id under which the log holds the request; null leaves the element out.</summary>
    public string? RequestId { get; init; }

    /// <summary>Elements particular to the error, written between Message and Resource in this order.</summary>
    public IReadOnlyList<S3ErrorDetail> Details { get; init; } = [];

    /// <summary>A copy with one more detail element.</summary>
    public S3Error WithDetail(string name, string value) => this with { Details = [.. Details, new S3ErrorDetail(name, value)] };

    /// <summary>The value of the first detail called <paramref name="name"/>, or null.</summary>
    public string? Detail(string name)
    {
        foreach (S3ErrorDetail detail in Details)
        {
            if (detail.Name == name) return detail.Value;
        }

        return null;
    }

    /// <summary>NoSuchBucket, naming the bucket as S3 does.</summary>
    public static S3Error NoSuchBucket(string bucket) => new S3Error(S3ErrorCode.NoSuchBucket).WithDetail("BucketName", bucket);

    /// <summary>InvalidBucketName, naming the bucket as S3 does.</summary>
    public static S3Error InvalidBucketName(string bucket) => new S3Error(S3ErrorCode.InvalidBucketName).WithDetail("BucketName", bucket);

    /// <summary>NoSuchKey, naming the key as S3 does.</summary>
    public static S3Error NoSuchKey(string key) => new S3Error(S3ErrorCode.NoSuchKey).WithDetail("Key", key);

    /// <summary>NoSuchVersion, naming the key and version as S3 does.</summary>
    public static S3Error NoSuchVersion(string key, string versionId) =>
        new S3Error(S3ErrorCode.NoSuchVersion).WithDetail("Key", key).WithDetail("VersionId", versionId);

    /// <summary>NoSuchUpload, naming the upload as S3 does.</summary>
    public static S3Error NoSuchUpload(string uploadId) => new S3Error(S3ErrorCode.NoSuchUpload).WithDetail("UploadId", uploadId);

    /// <summary>InvalidArgument about one named argument.</summary>
    public static S3Error InvalidArgument(string message, string argumentName, string? argumentValue)
    {
        S3Error error = new S3Error(S3ErrorCode.InvalidArgument, message).WithDetail("ArgumentName", argumentName);
        return argumentValue is null ? error : error.WithDetail("ArgumentValue", argumentValue);
    }

    /// <summary>InvalidRequest with a message of its own.</summary>
    public static S3Error InvalidRequest(string message) => new(S3ErrorCode.InvalidRequest, message);

    /// <summary>InvalidRange against an object of <paramref name="sizeBytes"/> bytes; the response also needs <c>Content-Range: bytes */size</c>.</summary>
    public static S3Error InvalidRange(string rangeRequested, long sizeBytes) => new S3Error(S3ErrorCode.InvalidRange)
        .WithDetail("RangeRequested", rangeRequested)
        .WithDetail("ActualObjectSize", sizeBytes.ToString(CultureInfo.InvariantCulture));

    /// <summary>PreconditionFailed, naming the header that did not hold.</summary>
    public static S3Error PreconditionFailed(string condition) => new S3Error(S3ErrorCode.PreconditionFailed).WithDetail("Condition", condition);

    /// <summary>MethodNotAllowed, naming the method and the kind of resource.</summary>
    public static S3Error MethodNotAllowed(string method, string resourceType) => new S3Error(S3ErrorCode.MethodNotAllowed)
        .WithDetail("Method", method)
        .WithDetail("ResourceType", resourceType);

    /// <summary>NotImplemented for a header or operation this server does not offer.</summary>
    public static S3Error NotImplemented(string message) => new(S3ErrorCode.NotImplemented, message);

    /// <summary>
    /// BadDigest for a checksum. S3 answers a mismatch of any x-amz-checksum-* value with BadDigest, never with
    /// a code of its own.
    /// </summary>
    public static S3Error ChecksumMismatch(string algorithmName) =>
        new(S3ErrorCode.BadDigest, $"The {algorithmName} you specified did not match the calculated checksum.");
}
