using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http;
using ObjectStore.Grains;
using ObjectStore.Metadata;
using ObjectStore.S3.Errors;
using ObjectStore.Storage;
using Orleans.Runtime;

namespace ObjectStore.Gateway;

/// <summary>The one place that turns faults into S3 errors. Internal text never reaches a client.</summary>
internal static class Faults
{
    public static S3Error ToS3Error(Exception exception) => exception switch
    {
        S3Exception s3 => s3.Error,
        DriveFullException or MetadataStoreFullException => new S3Error(S3ErrorCode.InsufficientStorage),
        ExtentLostException or FragmentCorruptException or FragmentMissingException => new S3Error(S3ErrorCode.InternalError),
        WriteQuorumException or ExtentUnavailableException or DriveUnavailableException or BuffersBusyException or PlacementUnavailableException => new S3Error(S3ErrorCode.SlowDown),
        StorageException or MetadataStoreException => new S3Error(S3ErrorCode.ServiceUnavailable),
        RangeBusyException => new S3Error(S3ErrorCode.SlowDown),
        TimeoutException or OrleansException => new S3Error(S3ErrorCode.ServiceUnavailable),
        BadHttpRequestException bad => bad.StatusCode switch
        {
            StatusCodes.Status408RequestTimeout => new S3Error(S3ErrorCode.RequestTimeout),
            StatusCodes.Status413PayloadTooLarge => new S3Error(S3ErrorCode.EntityTooLarge),
            _ => new S3Error(S3ErrorCode.IncompleteBody),
        },
        ConnectionResetException => new S3Error(S3ErrorCode.IncompleteBody),
        OperationCanceledException => new S3Error(S3ErrorCode.ServiceUnavailable),
        _ => new S3Error(S3ErrorCode.InternalError),
    };

    /// <summary>True when the request's body may be half read, so that nothing that follows on the connection can be understood.</summary>
    public static bool LeavesBodyInDoubt(Exception exception) => exception is BadHttpRequestException or ConnectionResetException
        || (exception is S3Exception s3 && (s3.Error.Code == S3ErrorCode.IncompleteBody || s3.Error.Code == S3ErrorCode.MalformedTrailerError));
}
