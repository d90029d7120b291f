using ObjectStore.Gateway.Objects;
using ObjectStore.Grains;
using ObjectStore.S3.Errors;
using ObjectStore.S3.Routing;
using ObjectStore.S3.Xml;

namespace ObjectStore.Gateway.Buckets;

/// <summary>CreateBucket: a new name, durably; a name that is taken is BucketAlreadyOwnedByYou or BucketAlreadyExists.</summary>
internal static class CreateBucket
{
    public static async Task HandleAsync(S3Request request)
    {
        StoredHeaders.RefuseUnsupported(request);
        if (string.Equals(request.Header("x-amz-bucket-object-lock-enabled"), "true", StringComparison.OrdinalIgnoreCase))
        {
            throw new S3Exception(S3Error.NotImplemented("Object Lock is not implemented."));
        }

        if (!BucketName.IsValid(request.Bucket)) throw new S3Exception(S3Error.InvalidBucketName(request.Bucket));
        ReadOnlyMemory<byte> body = await XmlBody.ReadAsync(request, 64 * 1024);
        string? region = body.IsEmpty ? null : RequestXml.CreateBucketConfiguration(body);
        CreateBucketResult result = await request.Services.Grains.GetGrain<IBucketGrain>(request.Bucket)
            .CreateAsync(new CreateBucketCommand(request.Signature.AccessKey, string.IsNullOrEmpty(region) ? request.Services.Options.Region : region));
        if (!result.Created)
        {
            throw new S3Exception(result.Bucket.Owner == request.Signature.AccessKey ? S3ErrorCode.BucketAlreadyOwnedByYou : S3ErrorCode.BucketAlreadyExists);
        }

        request.Http.Response.Headers.Location = $"/{request.Bucket}";
        await S3Response.Empty(request);
    }
}
