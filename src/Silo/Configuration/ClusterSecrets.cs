using ObjectStore.Storage.Transport;

namespace ObjectStore.Silo.Configuration;

/// <summary>Where the cluster's secret comes from.</summary>
internal static class ClusterSecrets
{
    /// <summary>The secret of the file or of the environment; null where neither is given.</summary>
    /// <exception cref="StartException">It cannot be used. The message does not hold it.</exception>
    public static ClusterSecret? Load(SiloOptions options)
    {
        try
        {
            return options switch
            {
                { ClusterSecretFile: { } file } => ClusterSecret.Load(file),
                { ClusterSecretText: { } text } => ClusterSecret.Parse(text),
                _ => null,
            };
        }
        catch (ArgumentException e)
        {
            // Of its own text only: the parameter's name would mean nothing to an operator.
            string message = e.Message;
            int parameter = message.LastIndexOf(" (Parameter", StringComparison.Ordinal);
            throw new StartException(parameter < 0 ? message : message[..parameter]);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new StartException($"the cluster secret cannot be read: {e.Message}", e);
        }
    }
}
