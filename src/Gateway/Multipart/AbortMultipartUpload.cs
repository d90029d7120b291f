using Microsoft.AspNetCore.Http;
using ObjectStore.Grains;
using ObjectStore.S3.Errors;

namespace ObjectStore.Gateway.Multipart;

/// <summary>AbortMultipartUpload: ends an upload; its parts become garbage.</summary>
internal static class AbortMultipartUpload
{
    public static async Task HandleAsync(S3Request request)
    {
        (_, UploadInfo upload, IMultipartUploadGrain grain) = await Uploads.RequireAsync(request);
        if (!await grain.AbortAsync()) throw new S3Exception(S3Error.NoSuchUpload(upload.UploadId.ToString()));
        await S3Response.Empty(request, StatusCodes.Status204NoContent);
    }
}
