namespace ObjectStore.S3.Routing;

/// <summary>
/// Every operation of the S3 API. The names are those of the S3 service model (botocore, 2006-03-01), plus the two that
/// browsers send and SDKs do not: <see cref="PostObject"/> and <see cref="OptionsObject"/>.
/// </summary>
public enum S3Operation
{
    /// <summary>No operation; never the result of a successful route.</summary>
    None = 0,

    /// <summary>Browser upload: POST of multipart/form-data to a bucket.</summary>
    PostObject,

    /// <summary>CORS preflight: OPTIONS of a bucket or object.</summary>
    OptionsObject,

    /// <summary>DELETE /{Bucket}/{Key+}</summary>
    AbortMultipartUpload,

    /// <summary>POST /{Bucket}/{Key+}</summary>
    CompleteMultipartUpload,

    /// <summary>PUT /{Bucket}/{Key+}</summary>
    CopyObject,

    /// <summary>PUT /{Bucket}</summary>
    CreateBucket,

    /// <summary>POST /{Bucket}?metadataConfiguration</summary>
    CreateBucketMetadataConfiguration,

    /// <summary>POST /{Bucket}?metadataTable</summary>
    CreateBucketMetadataTableConfiguration,

    /// <summary>POST /{Bucket}/{Key+}?uploads</summary>
    CreateMultipartUpload,

    /// <summary>GET /{Bucket}?session</summary>
    CreateSession,

    /// <summary>DELETE /{Bucket}</summary>
    DeleteBucket,

    /// <summary>DELETE /{Bucket}?analytics</summary>
    DeleteBucketAnalyticsConfiguration,

    /// <summary>DELETE /{Bucket}?cors</summary>
    DeleteBucketCors,

    /// <summary>DELETE /{Bucket}?encryption</summary>
    DeleteBucketEncryption,

    /// <summary>DELETE /{Bucket}?intelligent-tiering</summary>
    DeleteBucketIntelligentTieringConfiguration,

    /// <summary>DELETE /{Bucket}?inventory</summary>
    DeleteBucketInventoryConfiguration,

    /// <summary>DELETE /{Bucket}?lifecycle</summary>
    DeleteBucketLifecycle,

    /// <summary>DELETE /{Bucket}?metadataConfiguration</summary>
    DeleteBucketMetadataConfiguration,

    /// <summary>DELETE /{Bucket}?metadataTable</summary>
    DeleteBucketMetadataTableConfiguration,

    /// <summary>DELETE /{Bucket}?metrics</summary>
    DeleteBucketMetricsConfiguration,

    /// <summary>DELETE /{Bucket}?ownershipControls</summary>
    DeleteBucketOwnershipControls,

    /// <summary>DELETE /{Bucket}?policy</summary>
    DeleteBucketPolicy,

    /// <summary>DELETE /{Bucket}?replication</summary>
    DeleteBucketReplication,

    /// <summary>DELETE /{Bucket}?tagging</summary>
    DeleteBucketTagging,

    /// <summary>DELETE /{Bucket}?website</summary>
    DeleteBucketWebsite,

    /// <summary>DELETE /{Bucket}/{Key+}</summary>
    DeleteObject,

    /// <summary>DELETE /{Bucket}/{Key+}?tagging</summary>
    DeleteObjectTagging,

    /// <summary>POST /{Bucket}?delete</summary>
    DeleteObjects,

    /// <summary>DELETE /{Bucket}?publicAccessBlock</summary>
    DeletePublicAccessBlock,

    /// <summary>GET /{Bucket}?abac</summary>
    GetBucketAbac,

    /// <summary>GET /{Bucket}?accelerate</summary>
    GetBucketAccelerateConfiguration,

    /// <summary>GET /{Bucket}?acl</summary>
    GetBucketAcl,

    /// <summary>GET /{Bucket}?analytics</summary>
    GetBucketAnalyticsConfiguration,

    /// <summary>GET /{Bucket}?cors</summary>
    GetBucketCors,

    /// <summary>GET /{Bucket}?encryption</summary>
    GetBucketEncryption,

    /// <summary>GET /{Bucket}?intelligent-tiering</summary>
    GetBucketIntelligentTieringConfiguration,

    /// <summary>GET /{Bucket}?inventory</summary>
    GetBucketInventoryConfiguration,

    /// <summary>GET /{Bucket}?lifecycle</summary>
    GetBucketLifecycle,

    /// <summary>GET /{Bucket}?lifecycle</summary>
    GetBucketLifecycleConfiguration,

    /// <summary>GET /{Bucket}?location</summary>
    GetBucketLocation,

    /// <summary>GET /{Bucket}?logging</summary>
    GetBucketLogging,

    /// <summary>GET /{Bucket}?metadataConfiguration</summary>
    GetBucketMetadataConfiguration,

    /// <summary>GET /{Bucket}?metadataTable</summary>
    GetBucketMetadataTableConfiguration,

    /// <summary>GET /{Bucket}?metrics</summary>
    GetBucketMetricsConfiguration,

    /// <summary>GET /{Bucket}?notification</summary>
    GetBucketNotification,

    /// <summary>GET /{Bucket}?notification</summary>
    GetBucketNotificationConfiguration,

    /// <summary>GET /{Bucket}?ownershipControls</summary>
    GetBucketOwnershipControls,

    /// <summary>GET /{Bucket}?policy</summary>
    GetBucketPolicy,

    /// <summary>GET /{Bucket}?policyStatus</summary>
    GetBucketPolicyStatus,

    /// <summary>GET /{Bucket}?replication</summary>
    GetBucketReplication,

    /// <summary>GET /{Bucket}?requestPayment</summary>
    GetBucketRequestPayment,

    /// <summary>GET /{Bucket}?tagging</summary>
    GetBucketTagging,

    /// <summary>GET /{Bucket}?versioning</summary>
    GetBucketVersioning,

    /// <summary>GET /{Bucket}?website</summary>
    GetBucketWebsite,

    /// <summary>GET /{Bucket}/{Key+}</summary>
    GetObject,

    /// <summary>GET /{Bucket}/{Key+}?acl</summary>
    GetObjectAcl,

    /// <summary>GET /{Bucket}/{Key+}?attributes</summary>
    GetObjectAttributes,

    /// <summary>GET /{Bucket}/{Key+}?legal-hold</summary>
    GetObjectLegalHold,

    /// <summary>GET /{Bucket}?object-lock</summary>
    GetObjectLockConfiguration,

    /// <summary>GET /{Bucket}/{Key+}?retention</summary>
    GetObjectRetention,

    /// <summary>GET /{Bucket}/{Key+}?tagging</summary>
    GetObjectTagging,

    /// <summary>GET /{Bucket}/{Key+}?torrent</summary>
    GetObjectTorrent,

    /// <summary>GET /{Bucket}?publicAccessBlock</summary>
    GetPublicAccessBlock,

    /// <summary>HEAD /{Bucket}</summary>
    HeadBucket,

    /// <summary>HEAD /{Bucket}/{Key+}</summary>
    HeadObject,

    /// <summary>GET /{Bucket}?analytics</summary>
    ListBucketAnalyticsConfigurations,

    /// <summary>GET /{Bucket}?intelligent-tiering</summary>
    ListBucketIntelligentTieringConfigurations,

    /// <summary>GET /{Bucket}?inventory</summary>
    ListBucketInventoryConfigurations,

    /// <summary>GET /{Bucket}?metrics</summary>
    ListBucketMetricsConfigurations,

    /// <summary>GET /</summary>
    ListBuckets,

    /// <summary>GET /</summary>
    ListDirectoryBuckets,

    /// <summary>GET /{Bucket}?uploads</summary>
    ListMultipartUploads,

    /// <summary>GET /{Bucket}?versions</summary>
    ListObjectVersions,

    /// <summary>GET /{Bucket}</summary>
    ListObjects,

    /// <summary>GET /{Bucket}?list-type=2</summary>
    ListObjectsV2,

    /// <summary>GET /{Bucket}/{Key+}</summary>
    ListParts,

    /// <summary>PUT /{Bucket}?abac</summary>
    PutBucketAbac,

    /// <summary>PUT /{Bucket}?accelerate</summary>
    PutBucketAccelerateConfiguration,

    /// <summary>PUT /{Bucket}?acl</summary>
    PutBucketAcl,

    /// <summary>PUT /{Bucket}?analytics</summary>
    PutBucketAnalyticsConfiguration,

    /// <summary>PUT /{Bucket}?cors</summary>
    PutBucketCors,

    /// <summary>PUT /{Bucket}?encryption</summary>
    PutBucketEncryption,

    /// <summary>PUT /{Bucket}?intelligent-tiering</summary>
    PutBucketIntelligentTieringConfiguration,

    /// <summary>PUT /{Bucket}?inventory</summary>
    PutBucketInventoryConfiguration,

    /// <summary>PUT /{Bucket}?lifecycle</summary>
    PutBucketLifecycle,

    /// <summary>PUT /{Bucket}?lifecycle</summary>
    PutBucketLifecycleConfiguration,

    /// <summary>PUT /{Bucket}?logging</summary>
    PutBucketLogging,

    /// <summary>PUT /{Bucket}?metrics</summary>
    PutBucketMetricsConfiguration,

    /// <summary>PUT /{Bucket}?notification</summary>
    PutBucketNotification,

    /// <summary>PUT /{Bucket}?notification</summary>
    PutBucketNotificationConfiguration,

    /// <summary>PUT /{Bucket}?ownershipControls</summary>
    PutBucketOwnershipControls,

    /// <summary>PUT /{Bucket}?policy</summary>
    PutBucketPolicy,

    /// <summary>PUT /{Bucket}?replication</summary>
    PutBucketReplication,

    /// <summary>PUT /{Bucket}?requestPayment</summary>
    PutBucketRequestPayment,

    /// <summary>PUT /{Bucket}?tagging</summary>
    PutBucketTagging,

    /// <summary>PUT /{Bucket}?versioning</summary>
    PutBucketVersioning,

    /// <summary>PUT /{Bucket}?website</summary>
    PutBucketWebsite,

    /// <summary>PUT /{Bucket}/{Key+}</summary>
    PutObject,

    /// <summary>PUT /{Bucket}/{Key+}?acl</summary>
    PutObjectAcl,

    /// <summary>PUT /{Bucket}/{Key+}?legal-hold</summary>
    PutObjectLegalHold,

    /// <summary>PUT /{Bucket}?object-lock</summary>
    PutObjectLockConfiguration,

    /// <summary>PUT /{Bucket}/{Key+}?retention</summary>
    PutObjectRetention,

    /// <summary>PUT /{Bucket}/{Key+}?tagging</summary>
    PutObjectTagging,

    /// <summary>PUT /{Bucket}?publicAccessBlock</summary>
    PutPublicAccessBlock,

    /// <summary>PUT /{Bucket}/{Key+}?renameObject</summary>
    RenameObject,

    /// <summary>POST /{Bucket}/{Key+}?restore</summary>
    RestoreObject,

    /// <summary>POST /{Bucket}/{Key+}?select&amp;select-type=2</summary>
    SelectObjectContent,

    /// <summary>PUT /{Bucket}?metadataInventoryTable</summary>
    UpdateBucketMetadataInventoryTableConfiguration,

    /// <summary>PUT /{Bucket}?metadataJournalTable</summary>
    UpdateBucketMetadataJournalTableConfiguration,

    /// <summary>PUT /{Bucket}/{Key+}?encryption</summary>
    UpdateObjectEncryption,

    /// <summary>PUT /{Bucket}/{Key+}</summary>
    UploadPart,

    /// <summary>PUT /{Bucket}/{Key+}</summary>
    UploadPartCopy,

    /// <summary>POST /WriteGetObjectResponse</summary>
    WriteGetObjectResponse,
}
