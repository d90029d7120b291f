using System.Buffers;
using System.Globalization;
using Microsoft.AspNetCore.Http;
using ObjectStore.Grains;
using ObjectStore.S3.Checksums;
using ObjectStore.S3.Conditions;
using ObjectStore.S3.Errors;
using Protocol = ObjectStore.S3.Headers;

namespace ObjectStore.Gateway.Objects;

/// <summary>GetObject and HeadObject: one newest version, its conditions, its range, its bytes.</summary>
internal static class GetObject
{
    private static readonly string[] OverrideNames = [.. Protocol.ObjectHeaders.ResponseOverrides.Select(pair => pair.Key)];

    public static async Task HandleAsync(S3Request request, bool withBody)
    {
        request.RefuseUnknownVersion();
        BucketInfo bucket = await request.RequireBucketAsync();
        ObjectVersion version = await ReadVersionAsync(request, bucket, request.Key);
        if (!ShouldSend(request, version)) return;

        (long offset, long length, bool isPartial) = SelectBytes(request, version);
        HttpResponse response = request.Http.Response;
        response.StatusCode = isPartial ? StatusCodes.Status206PartialContent : StatusCodes.Status200OK;
        WriteHeaders(request, version, isPartial);
        response.ContentLength = length;
        if (isPartial) response.Headers.ContentRange = new HttpRange(offset, length).ToContentRange(version.SizeBytes);
        if (!withBody || length == 0) return;
        await ObjectBody.SendAsync(request, version, offset, length);
    }

    /// <summary>The newest version; NoSuchKey where there is none.</summary>
    public static async Task<ObjectVersion> ReadVersionAsync(S3Request request, BucketInfo bucket, string key)
    {
        ObjectVersion? version = await request.ObjectGrain(bucket.Id, key).ReadAsync(null);
        if (version is null || version.IsDeleteMarker) throw new S3Exception(S3Error.NoSuchKey(key));
        return version;
    }

    /// <summary>False after a 304 has been written, with the validators that RFC 9110 §15.4.5 asks for; PreconditionFailed is thrown.</summary>
    private static bool ShouldSend(S3Request request, ObjectVersion version)
    {
        RequestConditions conditions = request.Conditions;
        if (conditions.IsEmpty) return true;
        ConditionResult result = conditions.EvaluateRead(
            version.ETag.ToString(), DateTimeOffset.FromUnixTimeMilliseconds(version.LastModifiedUnixMs), request.Services.Time.GetUtcNow());
        if (result.Proceeds) return true;
        if (result.Outcome != ConditionOutcome.NotModified) throw new S3Exception(result.ToError(request.Key)!);
        HttpResponse response = request.Http.Response;
        WriteHeaders(request, version, isPartial: true);
        response.Headers.ContentType = default;
        response.StatusCode = StatusCodes.Status304NotModified;
        return false;
    }

    /// <summary>Range and partNumber: which bytes of the object are asked for.</summary>
    private static (long Offset, long Length, bool IsPartial) SelectBytes(S3Request request, ObjectVersion version)
    {
        string? range = request.Header("Range");
        if (!request.Query.IsEmpty && request.Query.Get("partNumber") is { } partText)
        {
            if (range is not null) throw new S3Exception(S3Error.InvalidRequest("Cannot specify both Range header and partNumber query parameter"));
            int part = request.QueryInt32("partNumber", 1, 1, 10_000);
            if (version.ETag.PartCount > 0) request.Http.Response.Headers["x-amz-mp-parts-count"] = version.ETag.PartCount.ToString(CultureInfo.InvariantCulture);
            if (version.Parts.IsEmpty && part == 1) return (0, version.SizeBytes, false);
            if (part > version.Parts.Length) throw new S3Exception(new S3Error(S3ErrorCode.InvalidPartNumber).WithDetail("PartNumberRequested", partText));
            long offset = 0;
            for (int i = 0; i < part - 1; i++) offset += version.Parts[i].LengthBytes;
            long length = version.Parts[part - 1].LengthBytes;
            return length == 0 ? (0, 0, false) : (offset, length, true);
        }

        switch (HttpRange.Resolve(range, version.SizeBytes, out HttpRange resolved))
        {
            case RangeOutcome.Partial:
                return (resolved.Offset, resolved.Length, true);
            case RangeOutcome.Unsatisfiable:
                throw new S3Exception(S3Error.InvalidRange(range!, version.SizeBytes));
            default:
                return (0, version.SizeBytes, false);
        }
    }

    /// <summary>The headers a version answers with.</summary>
    public static void WriteHeaders(S3Request request, ObjectVersion version, bool isPartial)
    {
        HttpResponse response = request.Http.Response;
        IHeaderDictionary headers = response.Headers;
        headers.ETag = version.ETag.ToS3().ToQuotedString();
        headers.LastModified = S3Request.HttpDate(version.LastModifiedUnixMs);
        headers.AcceptRanges = "bytes";
        response.ContentType = version.Headers.ContentType ?? "binary/octet-stream";
        foreach ((string name, string value) in version.Headers.Values) headers[name] = value;
        if (version.StorageClass != Protocol.StorageClass.Standard) headers["x-amz-storage-class"] = version.StorageClass;
        if (!isPartial && version.Checksum.ToValue() is { } checksum && "ENABLED".Equals(request.Header("x-amz-checksum-mode"), StringComparison.OrdinalIgnoreCase))
        {
            headers[checksum.Algorithm.HeaderName()] = checksum.ToString();
            headers["x-amz-checksum-type"] = version.Checksum!.IsComposite ? "COMPOSITE" : "FULL_OBJECT";
        }

        if (request.Query.IsEmpty) return;
        for (int i = 0; i < OverrideNames.Length; i++)
        {
            if (request.Query.Get(OverrideNames[i]) is not { } value) continue;
            StoredHeaders.RefuseControlCharacters(OverrideNames[i], value);
            headers[Protocol.ObjectHeaders.ResponseOverrides[i].Value] = value;
        }
    }
}
