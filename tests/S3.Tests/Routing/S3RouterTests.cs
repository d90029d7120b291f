using ObjectStore.S3.Errors;
using ObjectStore.S3.Routing;

namespace ObjectStore.S3.Tests.Routing;

public sealed class S3RouterTests
{
    // Every operation of the service model with what it requires. Left out: ListDirectoryBuckets (another endpoint) and the four
    // deprecated operations that share a route with their successors.
    [Theory]
    [InlineData("DELETE", "/bucket/key?uploadId=1", false, S3Operation.AbortMultipartUpload)]
    [InlineData("POST", "/bucket/key?uploadId=1", false, S3Operation.CompleteMultipartUpload)]
    [InlineData("PUT", "/bucket/key", true, S3Operation.CopyObject)]
    [InlineData("PUT", "/bucket", false, S3Operation.CreateBucket)]
    [InlineData("POST", "/bucket?metadataConfiguration", false, S3Operation.CreateBucketMetadataConfiguration)]
    [InlineData("POST", "/bucket?metadataTable", false, S3Operation.CreateBucketMetadataTableConfiguration)]
    [InlineData("POST", "/bucket/key?uploads", false, S3Operation.CreateMultipartUpload)]
    [InlineData("GET", "/bucket?session", false, S3Operation.CreateSession)]
    [InlineData("DELETE", "/bucket", false, S3Operation.DeleteBucket)]
    [InlineData("DELETE", "/bucket?analytics&id=1", false, S3Operation.DeleteBucketAnalyticsConfiguration)]
    [InlineData("DELETE", "/bucket?cors", false, S3Operation.DeleteBucketCors)]
    [InlineData("DELETE", "/bucket?encryption", false, S3Operation.DeleteBucketEncryption)]
    [InlineData("DELETE", "/bucket?intelligent-tiering&id=1", false, S3Operation.DeleteBucketIntelligentTieringConfiguration)]
    [InlineData("DELETE", "/bucket?inventory&id=1", false, S3Operation.DeleteBucketInventoryConfiguration)]
    [InlineData("DELETE", "/bucket?lifecycle", false, S3Operation.DeleteBucketLifecycle)]
    [InlineData("DELETE", "/bucket?metadataConfiguration", false, S3Operation.DeleteBucketMetadataConfiguration)]
    [InlineData("DELETE", "/bucket?metadataTable", false, S3Operation.DeleteBucketMetadataTableConfiguration)]
    [InlineData("DELETE", "/bucket?metrics&id=1", false, S3Operation.DeleteBucketMetricsConfiguration)]
    [InlineData("DELETE", "/bucket?ownershipControls", false, S3Operation.DeleteBucketOwnershipControls)]
    [InlineData("DELETE", "/bucket?policy", false, S3Operation.DeleteBucketPolicy)]
    [InlineData("DELETE", "/bucket?replication", false, S3Operation.DeleteBucketReplication)]
    [InlineData("DELETE", "/bucket?tagging", false, S3Operation.DeleteBucketTagging)]
    [InlineData("DELETE", "/bucket?website", false, S3Operation.DeleteBucketWebsite)]
    [InlineData("DELETE", "/bucket/key", false, S3Operation.DeleteObject)]
    [InlineData("DELETE", "/bucket/key?tagging", false, S3Operation.DeleteObjectTagging)]
    [InlineData("POST", "/bucket?delete", false, S3Operation.DeleteObjects)]
    [InlineData("DELETE", "/bucket?publicAccessBlock", false, S3Operation.DeletePublicAccessBlock)]
    [InlineData("GET", "/bucket?abac", false, S3Operation.GetBucketAbac)]
    [InlineData("GET", "/bucket?accelerate", false, S3Operation.GetBucketAccelerateConfiguration)]
    [InlineData("GET", "/bucket?acl", false, S3Operation.GetBucketAcl)]
    [InlineData("GET", "/bucket?analytics&id=1", false, S3Operation.GetBucketAnalyticsConfiguration)]
    [InlineData("GET", "/bucket?cors", false, S3Operation.GetBucketCors)]
    [InlineData("GET", "/bucket?encryption", false, S3Operation.GetBucketEncryption)]
    [InlineData("GET", "/bucket?intelligent-tiering&id=1", false, S3Operation.GetBucketIntelligentTieringConfiguration)]
    [InlineData("GET", "/bucket?inventory&id=1", false, S3Operation.GetBucketInventoryConfiguration)]
    [InlineData("GET", "/bucket?lifecycle", false, S3Operation.GetBucketLifecycleConfiguration)]
    [InlineData("GET", "/bucket?location", false, S3Operation.GetBucketLocation)]
    [InlineData("GET", "/bucket?logging", false, S3Operation.GetBucketLogging)]
    [InlineData("GET", "/bucket?metadataConfiguration", false, S3Operation.GetBucketMetadataConfiguration)]
    [InlineData("GET", "/bucket?metadataTable", false, S3Operation.GetBucketMetadataTableConfiguration)]
    [InlineData("GET", "/bucket?metrics&id=1", false, S3Operation.GetBucketMetricsConfiguration)]
    [InlineData("GET", "/bucket?notification", false, S3Operation.GetBucketNotificationConfiguration)]
    [InlineData("GET", "/bucket?ownershipControls", false, S3Operation.GetBucketOwnershipControls)]
    [InlineData("GET", "/bucket?policy", false, S3Operation.GetBucketPolicy)]
    [InlineData("GET", "/bucket?policyStatus", false, S3Operation.GetBucketPolicyStatus)]
    [InlineData("GET", "/bucket?replication", false, S3Operation.GetBucketReplication)]
    [InlineData("GET", "/bucket?requestPayment", false, S3Operation.GetBucketRequestPayment)]
    [InlineData("GET", "/bucket?tagging", false, S3Operation.GetBucketTagging)]
    [InlineData("GET", "/bucket?versioning", false, S3Operation.GetBucketVersioning)]
    [InlineData("GET", "/bucket?website", false, S3Operation.GetBucketWebsite)]
    [InlineData("GET", "/bucket/key", false, S3Operation.GetObject)]
    [InlineData("GET", "/bucket/key?acl", false, S3Operation.GetObjectAcl)]
    [InlineData("GET", "/bucket/key?attributes", false, S3Operation.GetObjectAttributes)]
    [InlineData("GET", "/bucket/key?legal-hold", false, S3Operation.GetObjectLegalHold)]
    [InlineData("GET", "/bucket?object-lock", false, S3Operation.GetObjectLockConfiguration)]
    [InlineData("GET", "/bucket/key?retention", false, S3Operation.GetObjectRetention)]
    [InlineData("GET", "/bucket/key?tagging", false, S3Operation.GetObjectTagging)]
    [InlineData("GET", "/bucket/key?torrent", false, S3Operation.GetObjectTorrent)]
    [InlineData("GET", "/bucket?publicAccessBlock", false, S3Operation.GetPublicAccessBlock)]
    [InlineData("HEAD", "/bucket", false, S3Operation.HeadBucket)]
    [InlineData("HEAD", "/bucket/key", false, S3Operation.HeadObject)]
    [InlineData("GET", "/bucket?analytics", false, S3Operation.ListBucketAnalyticsConfigurations)]
    [InlineData("GET", "/bucket?intelligent-tiering", false, S3Operation.ListBucketIntelligentTieringConfigurations)]
    [InlineData("GET", "/bucket?inventory", false, S3Operation.ListBucketInventoryConfigurations)]
    [InlineData("GET", "/bucket?metrics", false, S3Operation.ListBucketMetricsConfigurations)]
    [InlineData("GET", "/", false, S3Operation.ListBuckets)]
    [InlineData("GET", "/bucket?uploads", false, S3Operation.ListMultipartUploads)]
    [InlineData("GET", "/bucket?versions", false, S3Operation.ListObjectVersions)]
    [InlineData("GET", "/bucket", false, S3Operation.ListObjects)]
    [InlineData("GET", "/bucket?list-type=2", false, S3Operation.ListObjectsV2)]
    [InlineData("GET", "/bucket/key?uploadId=1", false, S3Operation.ListParts)]
    [InlineData("PUT", "/bucket?abac", false, S3Operation.PutBucketAbac)]
    [InlineData("PUT", "/bucket?accelerate", false, S3Operation.PutBucketAccelerateConfiguration)]
    [InlineData("PUT", "/bucket?acl", false, S3Operation.PutBucketAcl)]
    [InlineData("PUT", "/bucket?analytics&id=1", false, S3Operation.PutBucketAnalyticsConfiguration)]
    [InlineData("PUT", "/bucket?cors", false, S3Operation.PutBucketCors)]
    [InlineData("PUT", "/bucket?encryption", false, S3Operation.PutBucketEncryption)]
    [InlineData("PUT", "/bucket?intelligent-tiering&id=1", false, S3Operation.PutBucketIntelligentTieringConfiguration)]
    [InlineData("PUT", "/bucket?inventory&id=1", false, S3Operation.PutBucketInventoryConfiguration)]
    [InlineData("PUT", "/bucket?lifecycle", false, S3Operation.PutBucketLifecycleConfiguration)]
    [InlineData("PUT", "/bucket?logging", false, S3Operation.PutBucketLogging)]
    [InlineData("PUT", "/bucket?metrics&id=1", false, S3Operation.PutBucketMetricsConfiguration)]
    [InlineData("PUT", "/bucket?notification", false, S3Operation.PutBucketNotificationConfiguration)]
    [InlineData("PUT", "/bucket?ownershipControls", false, S3Operation.PutBucketOwnershipControls)]
    [InlineData("PUT", "/bucket?policy", false, S3Operation.PutBucketPolicy)]
    [InlineData("PUT", "/bucket?replication", false, S3Operation.PutBucketReplication)]
    [InlineData("PUT", "/bucket?requestPayment", false, S3Operation.PutBucketRequestPayment)]
    [InlineData("PUT", "/bucket?tagging", false, S3Operation.PutBucketTagging)]
    [InlineData("PUT", "/bucket?versioning", false, S3Operation.PutBucketVersioning)]
    [InlineData("PUT", "/bucket?website", false, S3Operation.PutBucketWebsite)]
    [InlineData("PUT", "/bucket/key", false, S3Operation.PutObject)]
    [InlineData("PUT", "/bucket/key?acl", false, S3Operation.PutObjectAcl)]
    [InlineData("PUT", "/bucket/key?legal-hold", false, S3Operation.PutObjectLegalHold)]
    [InlineData("PUT", "/bucket?object-lock", false, S3Operation.PutObjectLockConfiguration)]
    [InlineData("PUT", "/bucket/key?retention", false, S3Operation.PutObjectRetention)]
    [InlineData("PUT", "/bucket/key?tagging", false, S3Operation.PutObjectTagging)]
    [InlineData("PUT", "/bucket?publicAccessBlock", false, S3Operation.PutPublicAccessBlock)]
    [InlineData("PUT", "/bucket/key?renameObject", false, S3Operation.RenameObject)]
    [InlineData("POST", "/bucket/key?restore", false, S3Operation.RestoreObject)]
    [InlineData("POST", "/bucket/key?select&select-type=2", false, S3Operation.SelectObjectContent)]
    [InlineData("PUT", "/bucket?metadataInventoryTable", false, S3Operation.UpdateBucketMetadataInventoryTableConfiguration)]
    [InlineData("PUT", "/bucket?metadataJournalTable", false, S3Operation.UpdateBucketMetadataJournalTableConfiguration)]
    [InlineData("PUT", "/bucket/key?encryption", false, S3Operation.UpdateObjectEncryption)]
    [InlineData("PUT", "/bucket/key?partNumber=1&uploadId=1", false, S3Operation.UploadPart)]
    [InlineData("PUT", "/bucket/key?partNumber=1&uploadId=1", true, S3Operation.UploadPartCopy)]
    [InlineData("POST", "/WriteGetObjectResponse", false, S3Operation.WriteGetObjectResponse)]
    public void TryRoute_WhenRequestIsOfTheServiceModel_FindsItsOperation(string method, string target, bool hasCopySource, S3Operation expected)
    {
        Assert.Null(Route(method, target, hasCopySource, out S3Operation operation));
        Assert.Equal(expected, operation);
    }

    [Theory]
    [InlineData("GET", "/bucket?list-type=2&prefix=a&x-id=ListObjectsV2", S3Operation.ListObjectsV2)]
    [InlineData("GET", "/bucket/key?versionId=1&response-content-type=a&partNumber=2", S3Operation.GetObject)]
    [InlineData("GET", "/bucket/", S3Operation.ListObjects)]
    [InlineData("PUT", "/bucket/?acl", S3Operation.PutBucketAcl)]
    [InlineData("GET", "/bucket?%61cl", S3Operation.GetBucketAcl)]
    [InlineData("POST", "/bucket", S3Operation.PostObject)]
    [InlineData("OPTIONS", "/bucket/key", S3Operation.OptionsObject)]
    public void TryRoute_WhenFormVaries_FindsTheOperation(string method, string target, S3Operation expected)
    {
        Assert.Null(Route(method, target, false, out S3Operation operation));
        Assert.Equal(expected, operation);
    }

    [Theory]
    [InlineData("DELETE", "/bucket?versioning", "MethodNotAllowed")]
    [InlineData("DELETE", "/bucket?acl", "MethodNotAllowed")]
    [InlineData("DELETE", "/bucket/key?acl", "MethodNotAllowed")]
    [InlineData("PUT", "/bucket?location", "MethodNotAllowed")]
    [InlineData("HEAD", "/bucket/key?acl", "MethodNotAllowed")]
    [InlineData("POST", "/bucket/key", "MethodNotAllowed")]
    [InlineData("PATCH", "/bucket/key", "MethodNotAllowed")]
    [InlineData("PUT", "/", "MethodNotAllowed")]
    [InlineData("DELETE", "/bucket/key?lifecycle", "InvalidRequest")]
    [InlineData("DELETE", "/bucket?uploadId=1", "InvalidRequest")]
    [InlineData("PUT", "/bucket?partNumber=1&uploadId=1", "InvalidRequest")]
    [InlineData("PUT", "/bucket/key?partNumber=1", "InvalidArgument")]
    [InlineData("GET", "/bucket?acl&policy", "InvalidArgument")]
    public void TryRoute_WhenSubresourceDoesNotTakeTheMethod_RefusesAndNeverFallsThrough(string method, string target, string code)
    {
        Assert.Equal(code, Route(method, target, false, out S3Operation operation)!.Code.Code);
        Assert.Equal(S3Operation.None, operation);
    }

    private static S3Error? Route(string method, string target, bool hasCopySource, out S3Operation operation)
    {
        int at = target.IndexOf('?');
        Assert.True(S3Address.TryParse("localhost", target, [], out S3Address address, out _));
        Assert.True(QueryString.TryParse(at < 0 ? "" : target[at..], out QueryString query, out _));
        S3Router.TryRoute(method, address, query, hasCopySource, out operation, out S3Error? error);
        return error;
    }
}
