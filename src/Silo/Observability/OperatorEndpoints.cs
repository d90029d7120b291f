using System.Globalization;
using System.Text;
using ObjectStore.Silo.Hosting;
using ObjectStore.Storage.Drives;

namespace ObjectStore.Silo.Observability;

/// <summary>
/// /health, /health/live, /health/ready and /metrics. A bucket may be called "health" or "metrics": a request that is signed is S3's, one that is not is the
/// operator's.
/// </summary>
internal sealed class OperatorEndpoints(ServiceState state, PrometheusExporter exporter, Func<ValueTask<IReadOnlyList<DriveStatistics>>> drives, Redundancy? redundancy)
{
    public bool Handles(HttpContext http)
    {
        HttpRequest request = http.Request;
        string path = request.Path.Value ?? "";
        if (path is not ("/health" or "/health/live" or "/health/ready" or "/metrics")) return false;
        return (HttpMethods.IsGet(request.Method) || HttpMethods.IsHead(request.Method))
            && request.Headers.Authorization.Count == 0 && !request.QueryString.HasValue;
    }

    public Task HandleAsync(HttpContext http) => http.Request.Path.Value switch
    {
        "/health/live" => SendAsync(http, 200, "text/plain", "live\n"),
        "/metrics" => SendAsync(http, 200, "text/plain; version=0.0.4; charset=utf-8", exporter.Render()),
        _ => ReadyAsync(http),
    };

    private async Task ReadyAsync(HttpContext http)
    {
        if (!state.IsReady)
        {
            await SendAsync(http, 503, "application/json", "{\"status\":\"starting or stopping\"}\n");
            return;
        }

        StringBuilder json = new("{\"status\":\"ready\",\"drives\":[");
        foreach (DriveStatistics drive in await drives())
        {
            if (json[^1] != '[') json.Append(',');
            json.Append(CultureInfo.InvariantCulture, $"{{\"id\":\"{drive.DriveId:N}\",\"state\":\"{drive.State}\",\"capacityBytes\":{drive.CapacityBytes},\"freeBytes\":{drive.FreeBytes},\"liveBytes\":{drive.LiveBytes},\"garbageBytes\":{drive.GarbageBytes},\"logBytes\":{drive.LogBytes}}}");
        }

        json.Append(']');
        if (redundancy is not null)
        {
            (int incomplete, int unreachable, int without) = redundancy.CountSlots();
            json.Append(CultureInfo.InvariantCulture, $",\"redundancy\":\"{redundancy.Describe()}\",\"repair\":{{\"incompleteSlots\":{incomplete},\"unreachableSlots\":{unreachable},\"slotsWithoutDrive\":{without},");
            json.Append(CultureInfo.InvariantCulture, $"\"queued\":{redundancy.Queued},\"scrubbing\":{(redundancy.IsScrubbing ? "true" : "false")}}},\"orphansKept\":{(redundancy.KeepsOrphans ? "true" : "false")}");
        }

        json.Append("}\n");
        await SendAsync(http, 200, "application/json", json.ToString());
    }

    private static Task SendAsync(HttpContext http, int status, string contentType, string text)
    {
        byte[] body = Encoding.UTF8.GetBytes(text);
        http.Response.StatusCode = status;
        http.Response.ContentType = contentType;
        http.Response.ContentLength = body.Length;
        http.Response.Headers.CacheControl = "no-store";
        return HttpMethods.IsHead(http.Request.Method) ? Task.CompletedTask : http.Response.Body.WriteAsync(body, 0, body.Length, http.RequestAborted);
    }
}
