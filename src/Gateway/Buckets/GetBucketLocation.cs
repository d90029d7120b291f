using ObjectStore.Grains;
using ObjectStore.S3.Xml;

namespace ObjectStore.Gateway.Buckets;

/// <summary>GetBucketLocation: the bucket's region, empty for us-east-1 as S3 has it.</summary>
internal static class GetBucketLocation
{
    public static async Task HandleAsync(S3Request request)
    {
        BucketInfo bucket = await request.RequireBucketAsync();
        await S3Response.XmlAsync(request, output => ResponseXml.LocationConstraint(output, bucket.Region));
    }
}
