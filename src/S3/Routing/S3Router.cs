using System.Collections.Frozen;
using ObjectStore.S3.Errors;

namespace ObjectStore.S3.Routing;

/// <summary>
/// Decides which operation a request is, from nothing but its method, what it addresses, its query parameter names and two headers. Parameters that
/// select no operation (prefix, versionId, x-id …) are ignored. A subresource that exists but does not take the method is refused and never falls
/// through to the plain operation: DELETE ?versioning must not delete the bucket.
/// </summary>
public static class S3Router
{
    private enum Method
    {
        Get,
        Head,
        Put,
        Post,
        Delete,
    }

    /// <summary>One query parameter that selects an operation. <see cref="S3Operation.None"/> means "does not take this method".</summary>
    private sealed record Subresource(string Name)
    {
        public S3Operation BucketGet { get; init; }
        public S3Operation BucketPut { get; init; }
        public S3Operation BucketPost { get; init; }
        public S3Operation BucketDelete { get; init; }
        public S3Operation ObjectGet { get; init; }
        public S3Operation ObjectPut { get; init; }
        public S3Operation ObjectPost { get; init; }
        public S3Operation ObjectDelete { get; init; }

        /// <summary>What GET means without an <c>id</c> parameter, where the configurations are many per bucket.</summary>
        public S3Operation BucketGetWithoutId { get; init; }

        public bool TakesBucket => BucketGet != 0 || BucketPut != 0 || BucketPost != 0 || BucketDelete != 0;

        public bool TakesObject => ObjectGet != 0 || ObjectPut != 0 || ObjectPost != 0 || ObjectDelete != 0;

        public S3Operation Select(Method method, bool hasKey, bool hasId) => (method, hasKey) switch
        {
            (Method.Get, false) => BucketGetWithoutId != 0 && !hasId ? BucketGetWithoutId : BucketGet,
            (Method.Put, false) => BucketPut,
            (Method.Post, false) => BucketPost,
            (Method.Delete, false) => BucketDelete,
            (Method.Get, true) => ObjectGet,
            (Method.Put, true) => ObjectPut,
            (Method.Post, true) => ObjectPost,
            (Method.Delete, true) => ObjectDelete,
            _ => S3Operation.None,
        };
    }

    private static readonly FrozenDictionary<string, Subresource> Subresources = new Subresource[]
    {
        new("abac") { BucketGet = S3Operation.GetBucketAbac, BucketPut = S3Operation.PutBucketAbac },
        new("accelerate") { BucketGet = S3Operation.GetBucketAccelerateConfiguration, BucketPut = S3Operation.PutBucketAccelerateConfiguration },
        new("acl") { BucketGet = S3Operation.GetBucketAcl, BucketPut = S3Operation.PutBucketAcl, ObjectGet = S3Operation.GetObjectAcl, ObjectPut = S3Operation.PutObjectAcl },
        new("analytics")
        {
            BucketGet = S3Operation.GetBucketAnalyticsConfiguration, BucketGetWithoutId = S3Operation.ListBucketAnalyticsConfigurations,
            BucketPut = S3Operation.PutBucketAnalyticsConfiguration, BucketDelete = S3Operation.DeleteBucketAnalyticsConfiguration,
        },
        new("attributes") { ObjectGet = S3Operation.GetObjectAttributes },
        new("cors") { BucketGet = S3Operation.GetBucketCors, BucketPut = S3Operation.PutBucketCors, BucketDelete = S3Operation.DeleteBucketCors },
        new("delete") { BucketPost = S3Operation.DeleteObjects },
        new("encryption")
        {
            BucketGet = S3Operation.GetBucketEncryption, BucketPut = S3Operation.PutBucketEncryption, BucketDelete = S3Operation.DeleteBucketEncryption,
            ObjectPut = S3Operation.UpdateObjectEncryption,
        },
        new("intelligent-tiering")
        {
            BucketGet = S3Operation.GetBucketIntelligentTieringConfiguration, BucketGetWithoutId = S3Operation.ListBucketIntelligentTieringConfigurations,
            BucketPut = S3Operation.PutBucketIntelligentTieringConfiguration, BucketDelete = S3Operation.DeleteBucketIntelligentTieringConfiguration,
        },
        new("inventory")
        {
            BucketGet = S3Operation.GetBucketInventoryConfiguration, BucketGetWithoutId = S3Operation.ListBucketInventoryConfigurations,
            BucketPut = S3Operation.PutBucketInventoryConfiguration, BucketDelete = S3Operation.DeleteBucketInventoryConfiguration,
        },
        new("legal-hold") { ObjectGet = S3Operation.GetObjectLegalHold, ObjectPut = S3Operation.PutObjectLegalHold },
        new("lifecycle")
        {
            BucketGet = S3Operation.GetBucketLifecycleConfiguration, BucketPut = S3Operation.PutBucketLifecycleConfiguration,
            BucketDelete = S3Operation.DeleteBucketLifecycle,
        },
        new("location") { BucketGet = S3Operation.GetBucketLocation },
        new("logging") { BucketGet = S3Operation.GetBucketLogging, BucketPut = S3Operation.PutBucketLogging },
        new("metadataConfiguration")
        {
            BucketGet = S3Operation.GetBucketMetadataConfiguration, BucketPost = S3Operation.CreateBucketMetadataConfiguration,
            BucketDelete = S3Operation.DeleteBucketMetadataConfiguration,
        },
        new("metadataInventoryTable") { BucketPut = S3Operation.UpdateBucketMetadataInventoryTableConfiguration },
        new("metadataJournalTable") { BucketPut = S3Operation.UpdateBucketMetadataJournalTableConfiguration },
        new("metadataTable")
        {
            BucketGet = S3Operation.GetBucketMetadataTableConfiguration, BucketPost = S3Operation.CreateBucketMetadataTableConfiguration,
            BucketDelete = S3Operation.DeleteBucketMetadataTableConfiguration,
        },
        new("metrics")
        {
            BucketGet = S3Operation.GetBucketMetricsConfiguration, BucketGetWithoutId = S3Operation.ListBucketMetricsConfigurations,
            BucketPut = S3Operation.PutBucketMetricsConfiguration, BucketDelete = S3Operation.DeleteBucketMetricsConfiguration,
        },
        new("notification") { BucketGet = S3Operation.GetBucketNotificationConfiguration, BucketPut = S3Operation.PutBucketNotificationConfiguration },
        new("object-lock") { BucketGet = S3Operation.GetObjectLockConfiguration, BucketPut = S3Operation.PutObjectLockConfiguration },
        new("ownershipControls")
        {
            BucketGet = S3Operation.GetBucketOwnershipControls, BucketPut = S3Operation.PutBucketOwnershipControls,
            BucketDelete = S3Operation.DeleteBucketOwnershipControls,
        },
        new("policy") { BucketGet = S3Operation.GetBucketPolicy, BucketPut = S3Operation.PutBucketPolicy, BucketDelete = S3Operation.DeleteBucketPolicy },
        new("policyStatus") { BucketGet = S3Operation.GetBucketPolicyStatus },
        new("publicAccessBlock")
        {
            BucketGet = S3Operation.GetPublicAccessBlock, BucketPut = S3Operation.PutPublicAccessBlock, BucketDelete = S3Operation.DeletePublicAccessBlock,
        },
        new("renameObject") { ObjectPut = S3Operation.RenameObject },
        new("replication")
        {
            BucketGet = S3Operation.GetBucketReplication, BucketPut = S3Operation.PutBucketReplication, BucketDelete = S3Operation.DeleteBucketReplication,
        },
        new("requestPayment") { BucketGet = S3Operation.GetBucketRequestPayment, BucketPut = S3Operation.PutBucketRequestPayment },
        new("restore") { ObjectPost = S3Operation.RestoreObject },
        new("retention") { ObjectGet = S3Operation.GetObjectRetention, ObjectPut = S3Operation.PutObjectRetention },
        new("select") { ObjectPost = S3Operation.SelectObjectContent },
        new("session") { BucketGet = S3Operation.CreateSession },
        new("tagging")
        {
            BucketGet = S3Operation.GetBucketTagging, BucketPut = S3Operation.PutBucketTagging, BucketDelete = S3Operation.DeleteBucketTagging,
            ObjectGet = S3Operation.GetObjectTagging, ObjectPut = S3Operation.PutObjectTagging, ObjectDelete = S3Operation.DeleteObjectTagging,
        },
        new("torrent") { ObjectGet = S3Operation.GetObjectTorrent },
        new("uploadId")
        {
            ObjectGet = S3Operation.ListParts, ObjectPut = S3Operation.UploadPart, ObjectPost = S3Operation.CompleteMultipartUpload,
            ObjectDelete = S3Operation.AbortMultipartUpload,
        },
        new("uploads") { BucketGet = S3Operation.ListMultipartUploads, ObjectPost = S3Operation.CreateMultipartUpload },
        new("versioning") { BucketGet = S3Operation.GetBucketVersioning, BucketPut = S3Operation.PutBucketVersioning },
        new("versions") { BucketGet = S3Operation.ListObjectVersions },
        new("website") { BucketGet = S3Operation.GetBucketWebsite, BucketPut = S3Operation.PutBucketWebsite, BucketDelete = S3Operation.DeleteBucketWebsite },
    }.ToFrozenDictionary(subresource => subresource.Name, StringComparer.Ordinal);

    private static readonly FrozenDictionary<string, Subresource>.AlternateLookup<ReadOnlySpan<char>> SubresourceByName =
        Subresources.GetAlternateLookup<ReadOnlySpan<char>>();

    /// <summary>Chooses the operation of a request.</summary>
    /// <param name="method">The HTTP method, upper case.</param>
    /// <param name="address">What the request addresses.</param>
    /// <param name="query">Its query.</param>
    /// <param name="hasCopySource">True when an x-amz-copy-source header is present: it turns PutObject and UploadPart into copies.</param>
    /// <param name="operation">The operation, when true is returned.</param>
    /// <param name="error">MethodNotAllowed, InvalidRequest or InvalidArgument, when false is returned.</param>
    public static bool TryRoute(string method, in S3Address address, in QueryString query, bool hasCopySource, out S3Operation operation, out S3Error? error)
    {
        error = null;
        operation = S3Operation.None;
        Method verb;
        switch (method)
        {
            case "GET": verb = Method.Get; break;
            case "HEAD": verb = Method.Head; break;
            case "PUT": verb = Method.Put; break;
            case "POST": verb = Method.Post; break;
            case "DELETE": verb = Method.Delete; break;
            case "OPTIONS":
                operation = S3Operation.OptionsObject;
                return true;
            default:
                error = S3Error.MethodNotAllowed(method, ResourceType(address));
                return false;
        }

        if (!address.HasBucket)
        {
            operation = verb == Method.Get ? S3Operation.ListBuckets : S3Operation.None;
        }
        else
        {
            if (!TryFindSubresource(query, out Subresource? subresource, out error)) return false;
            operation = subresource is null
                ? Plain(verb, address, query)
                : subresource.Select(verb, address.HasKey, query.Has("id"));
            if (operation == S3Operation.None && subresource is not null) error = Refuse(method, subresource, address);
        }

        if (operation == S3Operation.None)
        {
            error ??= S3Error.MethodNotAllowed(method, ResourceType(address));
            return false;
        }

        if (operation == S3Operation.PutObject && query.Has("partNumber"))
        {
            // A part whose upload id got lost must not overwrite the object.
            operation = S3Operation.None;
            error = S3Error.InvalidArgument("This operation does not accept partNumber without uploadId.", "uploadId", null);
            return false;
        }

        if (hasCopySource)
        {
            operation = operation switch
            {
                S3Operation.PutObject => S3Operation.CopyObject,
                S3Operation.UploadPart => S3Operation.UploadPartCopy,
                _ => operation,
            };
        }

        return true;
    }

    private static bool TryFindSubresource(in QueryString query, out Subresource? found, out S3Error? error)
    {
        found = null;
        error = null;
        foreach (QueryString.QueryParameter parameter in query)
        {
            Subresource? subresource = Find(parameter.RawName);
            if (subresource is null || ReferenceEquals(subresource, found)) continue;
            if (found is not null)
            {
                error = S3Error.InvalidArgument($"Conflicting query string parameters: {found.Name}, {subresource.Name}", "ResourceType", found.Name);
                return false;
            }

            found = subresource;
        }

        return true;
    }

    private static Subresource? Find(ReadOnlySpan<char> rawName)
    {
        if (SubresourceByName.TryGetValue(rawName, out Subresource? subresource)) return subresource;
        if (!rawName.Contains('%')) return null;
        return PercentEncoding.TryDecodeToString(rawName, plusIsSpace: true, out string name) ? Subresources.GetValueOrDefault(name) : null;
    }

    private static S3Operation Plain(Method method, in S3Address address, in QueryString query) => (method, address.HasKey) switch
    {
        (Method.Get, false) => query.Get("list-type") == "2" ? S3Operation.ListObjectsV2 : S3Operation.ListObjects,
        (Method.Head, false) => S3Operation.HeadBucket,
        (Method.Put, false) => S3Operation.CreateBucket,

        // Upper case cannot be a bucket, so the one operation with a fixed path is recognised by it.
        (Method.Post, false) => address.Bucket == "WriteGetObjectResponse" ? S3Operation.WriteGetObjectResponse : S3Operation.PostObject,
        (Method.Delete, false) => S3Operation.DeleteBucket,
        (Method.Get, true) => S3Operation.GetObject,
        (Method.Head, true) => S3Operation.HeadObject,
        (Method.Put, true) => S3Operation.PutObject,
        (Method.Delete, true) => S3Operation.DeleteObject,
        _ => S3Operation.None,
    };

    private static S3Error Refuse(string method, Subresource subresource, in S3Address address)
    {
        if (address.HasKey && !subresource.TakesObject)
        {
            return S3Error.InvalidRequest($"Key is not expected for the {method} method ?{subresource.Name} subresource");
        }

        if (!address.HasKey && !subresource.TakesBucket) return S3Error.InvalidRequest($"A key must be specified for the ?{subresource.Name} subresource");
        return S3Error.MethodNotAllowed(method, subresource.Name.ToUpperInvariant());
    }

    private static string ResourceType(in S3Address address) => address.HasKey ? "OBJECT" : address.HasBucket ? "BUCKET" : "SERVICE";
}
