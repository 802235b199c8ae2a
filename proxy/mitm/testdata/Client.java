// Usage: Client.java (PORT NAME)... with javax.net.ssl.trustStore set; prints "ok" or "refused: why" for each.
import java.net.Socket;
import javax.net.ssl.SSLHandshakeException;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.SSLSocketFactory;

public class Client {
    public static void main(String[] args) throws Exception {
        SSLSocketFactory factory = (SSLSocketFactory) SSLSocketFactory.getDefault();
        for (int i = 0; i < args.length; i += 2) {
            int port = Integer.parseInt(args[i]);
            try (Socket raw = new Socket("127.0.0.1", port);
                    SSLSocket s = (SSLSocket) factory.createSocket(raw, args[i + 1], port, true)) {
                SSLParameters p = s.getSSLParameters();
                p.setEndpointIdentificationAlgorithm("HTTPS"); // what HttpsURLConnection and HttpClient set
                s.setSSLParameters(p);
                s.startHandshake();
                System.out.println("ok");
            } catch (SSLHandshakeException e) {
                System.out.println("refused: " + e.getMessage().replace('\n', ' '));
            }
        }
    }
}
